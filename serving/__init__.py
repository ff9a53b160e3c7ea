"""Publishing and reading: gate 3, the versioned push, the store, the API, the console, explanations."""
