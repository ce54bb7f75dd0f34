"""What a request is refused with: a status, a stable code, and one line for a person."""

# Seconds after which a client that was turned away may try again.
RETRY_AFTER = 2


class RequestError(Exception):
    """A request that gets no answer; `status` is HTTP's, `code` names the reason for a program."""

    def __init__(self, status: int, code: str, message: str, slot: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.slot = status, code, slot

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        if self.status in (429, 503):
            return {"Retry-After": str(RETRY_AFTER)}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}

    def body(self) -> dict[str, dict[str, str | None]]:
        """The fault as JSON, in the form of `faceverify verify --json`."""
        return {"error": {"photo": self.slot, "code": self.code, "message": str(self)}}
