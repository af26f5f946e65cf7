"""The published corpora, one file each: its datasheet first, its reader below."""

from __future__ import annotations

from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.corpora.georgia import Georgia
from data_modules.corpora.ptb import PTB
from data_modules.corpora.ptbxl import PTBXL
from data_modules.corpora.ribeiro import Ribeiro
from data_modules.corpus import Corpus

CORPORA: dict[str, type[Corpus]] = {corpus.spec.name: corpus for corpus in (PTBXL, CPSC2018, Georgia, PTB, Ribeiro)}
"""Name -> reader."""
