"""Flower with our sign-in and pages."""
