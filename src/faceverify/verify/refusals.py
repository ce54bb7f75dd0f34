"""Why a photo cannot be used: an exception type and a stable code for each reason."""

from faceverify.base.errors import UnusableError


class CaptureError(UnusableError):
    """A photo that cannot be used; the message is for the person who took it.

    `code` names the reason for a program and stays the same when the wording changes. `slot`
    says which of two photos it is, "first" or "second", where there are two.
    """

    code = "unusable"
    slot: str | None = None


class UnreadablePhotoError(CaptureError):
    """There is no file, or no picture in it that can be decoded."""

    code = "unreadable"


class TooManyPixelsError(CaptureError):
    """The picture has, or its header claims, more pixels than are decoded."""

    code = "too_many_pixels"


class NoFaceError(CaptureError):
    """No face was found."""

    code = "no_face"


class SeveralFacesError(CaptureError):
    """There is a second face of comparable size."""

    code = "several_faces"


class WrongPointsError(CaptureError):
    """Eyes, nose and mouth do not lie as in a face seen from the front."""

    code = "wrong_points"


class FaceTooSmallError(CaptureError):
    """The photo as taken has too few pixels of the face."""

    code = "face_too_small"


class BlurredError(CaptureError):
    """The face is far out of focus."""

    code = "blurred"


class DoubtfulError(CaptureError):
    """What was found and aligned can hardly be a face, in its right colours."""

    code = "doubtful"


class TooDarkError(CaptureError):
    """The face has too little light."""

    code = "too_dark"


class WashedOutError(CaptureError):
    """The face has too much light."""

    code = "washed_out"
