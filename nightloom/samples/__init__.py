"""Sample data, synthetic or from a public data set, in a landing folder as a web app fills it: `nightloom sample`."""

from nightloom.errors import NightloomError


class SampleError(NightloomError):
    """Sample data cannot be fetched, has a wrong checksum, or would mix with another sample in one folder."""
