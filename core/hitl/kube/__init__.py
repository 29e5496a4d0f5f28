"""The only code that knows how our resources are spelled: manifests to domain and back, names, conditions."""
