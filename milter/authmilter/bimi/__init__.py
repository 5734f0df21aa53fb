"""Brand Indicators for Message Identification. `evaluate.evaluate` is the way in; `names` says which drafts count."""
