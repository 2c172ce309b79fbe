"""Metrics judged: by people, by their behaviour, by what they lead to."""
