"""`decided` is sent on commit with proposal_id=…; it is for speed, the sweep in runs is for truth."""

from django.dispatch import Signal

decided = Signal()
