"""What is done after training, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.defences.defence import Defence, Defended
from zsr_core.defences.ttc import Ttc
from zsr_core.defences.wise_ft import WiseFt

AnyDefence = WiseFt | Ttc

__all__ = ["AnyDefence", "Defence", "Defended", "Ttc", "WiseFt"]
