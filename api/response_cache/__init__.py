"""An in-process HTTP cache in front of Flask that answers repeated reads after one look at the listing's version."""
