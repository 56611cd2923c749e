"""An in-process HTTP cache in front of Flask that answers repeated reads after a check of the listing's version."""
