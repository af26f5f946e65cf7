"""The model card of an exported model: what it is, what it was trained and tested on, what it is not for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ecg_transfer.leaks import leak_text

HUB_LICENCES = {
    **{"CC-BY-4.0": "cc-by-4.0", "ODC-By-1.0": "odc-by", "CC0-1.0": "cc0-1.0", "Apache-2.0": "apache-2.0"},
    "unknown": "unknown",
}
"""SPDX identifiers of corpora -> the Hugging Face Hub's."""

METRIC_TITLES = {
    "f1_weighted": "F1, weighted by prevalence (threshold 0.5)",
    "f1_macro": "F1, mean of labels (threshold 0.5)",
    "f1_macro_tuned": "F1, mean of labels (thresholds tuned on validation)",
    "auroc_macro": "AUROC, mean of labels",
    "ap_macro": "average precision, mean of labels",
}

METRIC_TYPES = {"f1_weighted": "f1", "f1_macro": "f1", "f1_macro_tuned": "f1", "auroc_macro": "roc_auc"}
"""What the Hub calls them; others go by their own names."""


def model_card(config: Mapping[str, Any]) -> str:
    """The text of `README.md`, its front matter as the Hub reads it.

    Args:
        config: The content of `config.json`.
    """
    return "\n".join([*_front_matter(config), "", *_body(config), ""])


def _front_matter(config: Mapping[str, Any]) -> Iterator[str]:
    """YAML; strings are written as JSON, which is YAML, so that no name can break out of its place."""
    data = config["data"]
    licences = sorted(_licences(config))
    hub = HUB_LICENCES.get(licences[0], "other") if len(licences) == 1 else "other"
    yield "---"
    yield f"license: {hub}"
    if hub == "other":
        yield f"license_name: {json.dumps(' and '.join(licences))}"
    yield "library_name: ecg_transfer"
    yield "pipeline_tag: other"
    yield "tags:"
    tags = ["ecg", "electrocardiogram", "12-lead", "multi-label-classification", config["backbone"]]
    is_simulated = any(corpus["simulated"] for corpus in (data, *config["pretrained_on"]))
    for tag in [*tags, *(["simulated"] if is_simulated else [])]:
        yield f"- {json.dumps(tag)}"
    yield "model-index:"
    yield f"- name: {json.dumps(config['name'])}"
    yield "  results:"
    yield "  - task: {type: other, name: Multi-label classification of 12-lead ECGs}"
    name = data["title"] + (" (SIMULATED)" if data["simulated"] else "")
    yield f"    dataset: {{type: {json.dumps(data['corpus'])}, name: {json.dumps(name)}, split: test}}"
    yield "    metrics:"
    for metric, score in config["scores"].items():
        if score["value"] is None:
            continue
        title = METRIC_TITLES[metric]
        limits = f"95 % interval {_number(score['low'])} to {_number(score['high'])}"
        kind = METRIC_TYPES.get(metric, metric)
        yield f"    - {{type: {kind}, name: {json.dumps(f'{title}; {limits}')}, value: {score['value']:.4f}}}"
    yield "---"


def _body(config: Mapping[str, Any]) -> Iterator[str]:
    data, preprocessing = config["data"], config["preprocessing"]
    seconds = preprocessing["num_samples"] / preprocessing["sampling_rate"]
    yield f"# {config['name']}"
    yield ""
    if data["simulated"]:
        yield "> **Trained and tested on SIMULATED ECGs.** Its scores say nothing of real recordings."
        yield ""
    yield f"A {config['backbone']} that reads {seconds:g} s of a 12-lead ECG and gives a probability for each of"
    yield f"{len(config['label_names'])} labels: {', '.join(config['label_names'])}."
    yield "It is a research model, no medical device: no diagnosis may rest on it."
    yield ""
    yield from _use(config)
    yield from _input(config)
    yield from _scores(config)
    yield from _data(config)
    yield "## How it was made"
    yield ""
    yield f"Run `{config['name']}` of ecg_transfer {config['library_version']}; its whole configuration and the"
    yield "versions of all packages are in `config.json`."


def _use(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import ecg_transfer as et"
    yield ""
    yield 'model = et.load_model("path/to/this/folder")'
    yield "model.probabilities(signals, sampling_rate=500)  # (records, 12, samples) in millivolts -> (records, labels)"
    yield "```"
    yield ""
    yield "`ecg-transfer finetune CORPUS --upstream path/to/this/folder` starts a training from it."
    yield ""
    if onnx := config["onnx"]:
        yield f"`model.onnx` takes `millivolts`, float32 (records, 12, samples) at {onnx['sampling_rate']} Hz, and"
        yield "gives `probabilities`, (records, labels). Resampling, cropping and scaling are in it; a recording"
        yield "that is too short is followed by zeros. Names of labels and leads, and thresholds, are in its metadata."
        yield f"On noise it differs from PyTorch by at most {onnx['max_difference']:.1g}."
        yield ""


def _input(config: Mapping[str, Any]) -> Iterator[str]:
    preprocessing = config["preprocessing"]
    yield "## Input"
    yield ""
    yield from _table(
        ("what", "value"),
        [
            ("leads, in this order", ", ".join(config["lead_names"])),
            ("unit", "millivolts, not yet scaled"),
            ("rate", f"any; it is resampled ({preprocessing['resample']}) to {preprocessing['sampling_rate']} Hz"),
            (
                "length",
                f"{preprocessing['num_samples']} samples after that; of longer ones the {preprocessing['crop']}",
            ),
            *_windows(config),
            (
                "shorter recordings",
                {"pad": "are followed by zeros", "set_aside": "are refused"}[preprocessing["short"]],
            ),
            ("amplitudes", f"`{preprocessing['scale']}` scaling, done inside"),
        ],
    )


def _windows(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A row of the input's table, for a model that was trained on pieces of the recordings."""
    if (windows := config["windows"]) is not None:
        rate = config["preprocessing"]["sampling_rate"]
        length, stride = windows["length"] / rate, windows["stride"] / rate
        joined = {"max": "the largest", "mean": "the mean"}[windows["aggregate"]]
        yield "windows", f"of {length:g} s, {stride:g} s apart; {joined} of their probabilities is the recording's"


def _scores(config: Mapping[str, Any]) -> Iterator[str]:
    tested = config["tested_on"]
    yield "## Scores"
    yield ""
    yield f"On {tested['records']:,} test records of {tested['groups']:,} patients (distinct recordings, where patients"
    yield f"are not known) of {config['data']['title']}, of the epoch chosen on validation, with 95 % intervals over"
    yield f"patients ({tested['draws']:,} bootstrap draws). One training: other seeds give other weights."
    yield ""
    for code, count in config["leaks"].items():
        yield f"**These scores may be too good:** {leak_text(code, count)}."
        yield ""
    rows = [
        (METRIC_TITLES[name], _number(score["value"]), f"{_number(score['low'])} to {_number(score['high'])}")
        for name, score in config["scores"].items()
    ]
    yield from _table(("score", "value", "95 % interval"), rows)
    columns = ("label", "positives", "threshold", "F1 there", "precision", "recall", "AUROC")
    yield from _table(
        columns,
        [
            (
                label,
                f"{values['num_positives']:.0f}",
                f"{config['thresholds'][label]:.3g}",
                *(_number(values[name]) for name in ("f1", "precision", "recall", "auroc")),
            )
            for label, values in config["per_label"].items()
        ],
    )


def _data(config: Mapping[str, Any]) -> Iterator[str]:
    data = config["data"]
    yield "## Data and licences"
    yield ""
    for corpus in (data, *config["pretrained_on"]):
        role = "Trained on" if corpus is data else "Pre-trained on"
        kind = "SIMULATED recordings in place of " if corpus["simulated"] else ""
        licence = f"licence {corpus['licence'] or 'unknown'}"
        if corpus["simulated"]:
            licence = "no licence applies to simulated ones"
        version, url, citation = (_known(corpus.get(name)) for name in ("version", "url", "citation"))
        source = "".join(f", {part}" for part in (version and f"version {version}", url) if part)
        number = corpus.get("num_train")
        count = f"; {number:,} training records" if number is not None else ""
        yield f"- {role} {kind}{corpus['title']}{source}; {licence}{count}."
        if not corpus["simulated"] and citation:
            yield f"  Cite: {citation}"
    yield f"- {data['completeness']}"
    parts = ", ".join(f"{part} {content['records']:,}" for part, content in data["parts"].items())
    yield f"- Records: {parts}."
    for title, counts in (("Set aside", data["set_aside"]), ("Mended", data["mended"])):
        if counts:
            yield f"- {title}: {', '.join(f'{code} {count}' for code, count in counts.items())}."
    if config["training_records"]:
        yield "- `training_records.safetensors` holds 64-bit digests of the training recordings, so that a later"
        yield "  evaluation on copies of them is noticed. No recording can be restored from them."
    else:
        yield "- Without digests of the training recordings: that a test recording was among them cannot be noticed."
    yield ""
    yield "Weights that were learned from licensed recordings are given on under those recordings' licences; name their"
    yield "authors as above."
    yield ""


def _known(fact: str | None) -> str:
    """A fact about a corpus; nothing for one that an upstream's manifest has as `unknown`."""
    return "" if fact in (None, "unknown") else str(fact)


def _licences(config: Mapping[str, Any]) -> set[str]:
    """Those of all corpora; that of this code for simulated ones, which may have the name of a real one beside them."""
    corpora = (config["data"], *config["pretrained_on"])
    return {"Apache-2.0" if corpus["simulated"] else corpus["licence"] or "unknown" for corpus in corpora}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)  # a label's name may have a line break
        yield f"| {' | '.join(cells)} |"
    yield ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
