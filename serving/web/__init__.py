"""HTTP around the API's answers: ids, limits, headers and logs of every request."""
