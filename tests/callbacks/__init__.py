"""Tests of the callbacks, under a real Trainer."""
