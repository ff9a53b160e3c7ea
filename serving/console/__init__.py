"""The operator's page: templates and the routes that fill them."""
