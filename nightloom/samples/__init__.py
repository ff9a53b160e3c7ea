"""Sample data: nothing, or a public data set -> a landing folder as a web app would leave it. `nightloom sample`."""

from nightloom.errors import NightloomError


class SampleError(NightloomError):
    """Sample data cannot be fetched, is not what it should be, or would mix with another sample in one folder."""
