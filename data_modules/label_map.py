"""Which labels of two corpora mean the same: each label as a concept, concepts as SNOMED CT codes where there is one.

Sources. The codes are those of the PhysioNet/CinC Challenges 2020 and 2021 (Perez Alday et al. 2020, doi
10.1088/1361-6579/abc960; Reyna et al. 2021, doi 10.23919/CinC53138.2021.9662687; `dx_mapping_scored.csv` and
`dx_mapping_unscored.csv` of github.com/physionetchallenges/evaluation-2021), which published PTB-XL with them, too: a
statement of PTB-XL has the code whose count among PTB-XL's records is its own (AFIB 1514, CRBBB 542, IRBBB 1118, ...).
The classes of PTB-XL's statements are its authors' (`scp_statements.csv`; Wagner et al. 2020, doi
10.1038/s41597-020-0495-6). A normal ECG is SNOMED CT 164854000, which the challenge does not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from data_modules.corpora import CORPORA
from data_modules.corpora.challenge2020 import Challenge2020Corpus
from data_modules.corpora.scp_statements import SCP_STATEMENTS
from data_modules.own.definition import definition_path, load_definition
from data_modules.sources import data_root, is_own

Relation = Literal["same", "broader", "narrower"]
"""Of the upstream's label to the downstream's: the same, or one that holds it, or one that it holds."""

EQUAL = {
    "713427006": "59118001",
    "733534002": "164909002",
    "63593006": "284470004",
    "17338001": "427172004",
    "164884008": "427172004",
}
"""Codes that mean the same, each -> the one that stands for both. The challenge scores complete right bundle branch
block as RBBB, supraventricular premature beats as PAC, ventricular premature beats as PVC (2020), complete left bundle
branch block as LBBB (2021). Ventricular ectopics, 164884008, are the class that CPSC2018 itself calls PVC, and what the
challenge gave to PTB-XL's statement PVC."""

NORMAL, SINUS_RHYTHM, INFARCTION, T_WAVE = "164854000", "426783006", "164865005", "164934002"

SCP_CODES = {
    "NORM": NORMAL, "LNGQT": "111975006", "LVH": "164873001", "LAFB": "445118002", "IRBBB": "713426002",
    "1AVB": "270492004", "IVCD": "698252002", "CRBBB": "713427006", "CLBBB": "733534002", "LAO/LAE": "67741000119109",
    "AMI": "54329005", "LPFB": "445211001", "RVH": "89792004", "RAO/RAE": "446358003", "WPW": "74390002",
    "ILBBB": "251120003", "3AVB": "27885002", "2AVB": "195042002", "ISCAN": "426434006", "ISCIN": "425419005",
    "ISCLA": "425623009", "ABQRS": "164951009", "PVC": "164884008", "STD_": "429622005", "QWAVE": "164917005",
    "PAC": "284470004", "LPR": "164947007", "INVT": "59931005", "LVOLT": "251146004", "TAB_": T_WAVE,
    "STE_": "164931005", "SR": SINUS_RHYTHM, "AFIB": "164889003", "STACH": "427084000", "SARRH": "427393009",
    "SBRAD": "426177001", "PACE": "10370003", "AFLT": "164890007", "SVTAC": "426761007", "PSVT": "67198005",
}  # fmt: skip
"""SCP statement -> code. The others have none that means the same (SVARR is no premature beat, though the challenge
counts it as one) and are concepts of their own."""

RIBEIRO_CODES = {
    "1dAVb": "270492004", "RBBB": "59118001", "LBBB": "164909002", "SB": "426177001", "AF": "164889003",
    "ST": "427084000",
}  # fmt: skip
"""Abnormalities of CODE-test, by their names in Ribeiro et al. 2020, doi 10.1038/s41467-020-15432-4."""

PARENTS = {
    NORMAL: (SINUS_RHYTHM, "ribeiro:none of six"),
    "ptb:healthy control": (NORMAL,),
    "59931005": (T_WAVE,),
    "scp:NDT": (T_WAVE,),
    "scp:NT_": (T_WAVE,),
    "scp:LOWT": (T_WAVE,),
    "54329005": (INFARCTION,),
}
"""Concept -> those that hold it, besides PTB-XL's classes. A normal ECG has sinus rhythm and none of CODE-test's six
abnormalities; a healthy control of PTB has a normal ECG, but not everybody with a normal ECG is one."""


@dataclass(frozen=True, kw_only=True)
class LabelMatch:
    """A label of an upstream and one of a downstream that have to do with each other."""

    upstream: str
    downstream: str
    relation: Relation
    """Of the upstream's label to the downstream's."""
    basis: str
    """The concept that says so; `name` where only the names are equal."""


def match_labels(
    upstream: str,
    upstream_labels: Sequence[str],
    downstream: str,
    downstream_labels: Sequence[str],
    root: str | Path | None = None,
) -> list[LabelMatch]:
    """Every pair of labels that mean the same, or of which one holds the other; by downstream label.

    Two labels mean the same when they share a concept; labels without concepts (an own corpus whose YAML gives no
    SNOMED CT codes) do when their names are equal to the letter.

    Args:
        upstream: Name of the upstream's corpus; one that is not here has names only.
        upstream_labels: Those its head knows.
        downstream: Name of the downstream's corpus.
        downstream_labels: Those it is labelled with.
        root: Folder of the corpora, for own ones.
    """
    theirs = label_concepts(upstream, upstream_labels, root)
    ours = label_concepts(downstream, downstream_labels, root)
    found = []
    for label in downstream_labels:
        for other in upstream_labels:
            match = _relation(theirs[other], ours[label], other == label)
            if match is not None:
                found.append(LabelMatch(upstream=other, downstream=label, relation=match[0], basis=match[1]))
    return found


def shared_labels(matches: Sequence[LabelMatch]) -> dict[str, str]:
    """Downstream label -> the upstream label that means the same, the first where there are several."""
    shared: dict[str, str] = {}
    for match in matches:
        if match.relation == "same":
            shared.setdefault(match.downstream, match.upstream)
    return shared


def label_concepts(corpus: str, labels: Sequence[str], root: str | Path | None = None) -> Mapping[str, tuple[str, ...]]:
    """The concepts of each label, equal codes made one; none for a label of which only the name is known.

    Args:
        corpus: Its name.
        labels: Names; of a corpus with several label sets the set that has all of them decides what they mean.
        root: Folder of the corpora, for own ones.
    """
    known = _concepts(corpus, tuple(labels), root)
    return {label: tuple(EQUAL.get(concept, concept) for concept in known.get(label, ())) for label in labels}


def _concepts(corpus: str, labels: tuple[str, ...], root: str | Path | None) -> dict[str, tuple[str, ...]]:
    if corpus == "ptbxl":
        return _ptbxl_concepts(labels)
    if corpus == "ptb":
        return {"NORM": ("ptb:healthy control",), "MI": (INFARCTION,)}
    if corpus == "ribeiro":
        return {"NORM": ("ribeiro:none of six",), **{label: (code,) for label, code in RIBEIRO_CODES.items()}}
    kind = CORPORA.get(corpus)
    if kind is not None and issubclass(kind, Challenge2020Corpus):
        codes: dict[str, tuple[str, ...]] = {label: (code,) for code, label in kind.label_codes.items()}
        if corpus == "cpsc2018":  # it calls this class Normal; the challenge's code for it is that of sinus rhythm
            codes["NORM"] = NORMAL, SINUS_RHYTHM
        return codes
    if is_own(corpus, root):
        return _own_concepts(corpus, root)
    return {}


def _ptbxl_concepts(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Of the label set that these names belong to: MI is a superclass, AMI a subclass or a statement."""
    sets = CORPORA["ptbxl"].spec.label_sets
    task = next((name for name, names in sets.items() if set(labels) <= set(names)), "all")
    concept_of = {"superclass": _superclass, "subdiagnostic": _subclass}.get(task, _statement)
    return {name: (concept_of(name),) for name in sets[task]}


def _statement(code: str) -> str:
    return SCP_CODES.get(code, f"scp:{code}")


def _subclass(name: str) -> str:
    """A subclass of one statement is that statement."""
    members = [statement.code for statement in SCP_STATEMENTS if statement.diagnostic_subclass == name]
    return _statement(members[0]) if len(members) == 1 else f"scp:subclass {name}"


def _superclass(name: str) -> str:
    return {"NORM": NORMAL, "MI": INFARCTION}.get(name, f"scp:superclass {name}")


def _own_concepts(corpus: str, root: str | Path | None) -> dict[str, tuple[str, ...]]:
    """What the YAML's `codes` and the labels' names say, where they are SNOMED CT codes: six to eighteen digits."""
    rules = load_definition(definition_path(data_root(root), corpus)).labels
    found: dict[str, tuple[str, ...]] = {}
    for code, label in rules.codes.items():
        if _is_snomed(code):
            found[label] = (*found.get(label, ()), code)
    return {label: (label,) for label in rules.names if _is_snomed(label)} | found


def _is_snomed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 6 <= len(text) <= 18


@cache
def _ancestors(concept: str) -> frozenset[str]:
    """Every concept that holds this one, itself not among them."""
    above = {EQUAL.get(parent, parent) for parent in _all_parents().get(concept, ())} - {concept}
    return frozenset(above.union(*(_ancestors(parent) for parent in above)))


@cache
def _all_parents() -> dict[str, tuple[str, ...]]:
    """`PARENTS` with the classes of PTB-XL's statements: statement, subclass, superclass."""
    parents = {concept: list(above) for concept, above in PARENTS.items()}
    for statement in SCP_STATEMENTS:
        if statement.diagnostic:
            concept = EQUAL.get(_statement(statement.code), _statement(statement.code))
            subclass = EQUAL.get(_subclass(statement.diagnostic_subclass), _subclass(statement.diagnostic_subclass))
            superclass = _superclass(statement.diagnostic_class)
            if concept != subclass:
                parents.setdefault(concept, []).append(subclass)
            if subclass != superclass:
                parents.setdefault(subclass, []).append(superclass)
    return {concept: tuple(dict.fromkeys(above)) for concept, above in parents.items()}


def _relation(theirs: tuple[str, ...], ours: tuple[str, ...], same_name: bool) -> tuple[Relation, str] | None:
    if not theirs or not ours:
        return ("same", "name") if same_name else None
    for concept in theirs:
        if concept in ours:
            return "same", concept
    for concept in ours:
        for other in theirs:
            if other in _ancestors(concept):
                return "broader", other
            if concept in _ancestors(other):
                return "narrower", concept
    return None
