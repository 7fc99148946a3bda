"""`level_changed` is sent on commit with cell_id=…"""

from django.dispatch import Signal

level_changed = Signal()
