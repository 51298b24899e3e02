"""The resources of the API, one folder each: routes, and where there is that much, service and schemas."""
