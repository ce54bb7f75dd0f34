"""How strongly a judged card is printed, worn and photographed, from mild to hard."""

from faceverify.cards.effects import Effects

# The ranges of the project's own cards, so that figures can be held against those of its runs; the
# reasons stand there.
_RANGES = {
    "print_resolution": (300, 180),  # dots per inch
    "saturation": (0.95, 0.6),  # share
    "contrast": (0.92, 0.62),  # share
    "dots": (1, 6),  # grey levels
    "haze": (0.02, 0.15),  # share of white
    "sheen": (0.03, 0.35),  # share of coloured light
    "wear": (0, 0.35),  # share of the print
    "scratches": (0, 12),
    "distance": (150, 350),  # millimetres
    "tilt": (2, 20),  # degrees
    "roll": (0, 10),  # degrees
    "defocus": (0.6, 2.2),  # pixels of the photo
    "motion": (0, 5),  # pixels of the photo
    "exposure": (0, 0.8),  # stops
    "uneven_light": (0.1, 0.6),  # share of the mean
    "noise": (1, 6),  # grey levels
    "jpeg_quality": (95, 65),
}
GREY_PORTRAITS = 0.1  # share of the cards

EFFECTS = Effects.model_validate(
    {name: {"mild": float(mild), "hard": float(hard)} for name, (mild, hard) in _RANGES.items()}
    | {"grey_portraits": GREY_PORTRAITS}
)
