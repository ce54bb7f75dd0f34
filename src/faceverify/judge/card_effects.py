"""How strongly a judged card is printed, worn and photographed, from mild to hard."""

from faceverify.cards.effects import Effects

EFFECTS = Effects.model_validate(
    {
        name: {"mild": float(mild), "hard": float(hard)}
        for name, (mild, hard) in {
            "print_resolution": (300, 200),  # dots per inch: card printers' own, and coarser ones
            "saturation": (0.95, 0.6),  # share that the inks reach
            "contrast": (0.95, 0.65),  # share that the inks reach
            "dots": (1.5, 7),  # grey levels
            "haze": (0.02, 0.15),  # share of white under the laminate
            "sheen": (0.05, 0.4),  # share of coloured light from the hologram
            "wear": (0, 0.3),  # share of the print rubbed off where it is worn most
            "scratches": (0, 12),
            "distance": (110, 240),  # millimetres: the card fills the photo, or half of it
            "tilt": (0, 20),  # degrees
            "roll": (0, 10),  # degrees
            "defocus": (0.6, 2.5),  # pixels
            "motion": (0, 5),  # pixels
            "exposure": (0, 0.7),  # stops
            "uneven_light": (0.05, 0.4),  # share of the mean
            "noise": (1.5, 8),  # grey levels
            "jpeg_quality": (95, 60),
        }.items()
    }
    | {"grey_portraits": 0.1}  # older cards
)
