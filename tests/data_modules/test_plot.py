from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from data_modules.corpus import LEAD_NAMES
from data_modules.plot import MARGIN_MM, PULSE_MM, plot_conditions, plot_ecg

RATE = 500
SIGNAL = np.arange(12)[:, None] / 10 + np.zeros((12, 10 * RATE))


def traces(ax: Axes) -> list[np.ndarray]:
    """Curves without the calibration pulses, (points, 2)."""
    return [line.get_xydata() for line in ax.lines if len(line.get_xdata()) != 6]


def test_scale_is_25_mm_a_second_and_10_mm_a_millivolt() -> None:
    signal = SIGNAL.copy()
    signal[1, RATE] += 1.5
    (ax,) = plot_ecg(signal, RATE).axes
    strip = traces(ax)[-1]
    assert len(strip) == 10 * RATE
    assert strip[RATE, 0] - strip[0, 0] == pytest.approx(25.0)
    assert strip[RATE, 1] - strip[RATE - 1, 1] == pytest.approx(15.0)
    assert ax.get_aspect() == 1.0


def test_paper_is_true_to_size() -> None:
    figure = plot_ecg(SIGNAL, RATE)
    (ax,) = figure.axes
    width_mm = figure.get_figwidth() * 25.4
    assert width_mm == pytest.approx(250 + 2 * MARGIN_MM + PULSE_MM)
    assert ax.get_xlim()[1] == pytest.approx(width_mm)


def test_3x4_shows_each_lead_at_its_own_time() -> None:
    (ax,) = plot_ecg(SIGNAL, RATE).axes
    curves = traces(ax)
    assert len(curves) == 13
    assert [text.get_text() for text in ax.texts] == [
        *("I", "aVR", "V1", "V4"),
        *("II", "aVL", "V2", "V5"),
        *("III", "aVF", "V3", "V6"),
        "II",
        "25 mm/s, 10 mm/mV",
    ]
    assert curves[3][0, 0] - curves[0][0, 0] == pytest.approx(7.5 * 25)
    # V4 is SIGNAL's row 9 and so lies 9 mm above I's row 0 on the same baseline.
    assert curves[3][0, 1] - curves[0][0, 1] == pytest.approx(9.0)


def test_12x1_shows_all_of_each_lead() -> None:
    (ax,) = plot_ecg(SIGNAL, RATE, layout="12x1").axes
    assert [text.get_text() for text in ax.texts] == [*LEAD_NAMES, "25 mm/s, 10 mm/mV"]
    assert all(len(curve) == 10 * RATE for curve in traces(ax))


def test_tall_waves_stay_on_the_paper() -> None:
    signal = SIGNAL.copy()
    signal[LEAD_NAMES.index("V4"), 8 * RATE] = 6.0
    signal[LEAD_NAMES.index("II"), 9 * RATE] = -4.0
    (ax,) = plot_ecg(signal, RATE).axes
    (low, high) = ax.get_ylim()
    assert max(curve[:, 1].max() for curve in traces(ax)) <= high
    assert min(curve[:, 1].min() for curve in traces(ax)) >= low


def test_nan_is_a_gap() -> None:
    signal = SIGNAL.copy()
    signal[:, 100:200] = np.nan
    (ax,) = plot_ecg(signal, RATE).axes
    assert np.isnan(traces(ax)[-1][100:200, 1]).all()
    assert np.isfinite(traces(ax)[-1][200:, 1]).all()
    (masked,) = plot_ecg(np.ma.masked_array(SIGNAL, np.isnan(signal)), RATE).axes
    np.testing.assert_array_equal(traces(masked)[-1], traces(ax)[-1])


def test_findings_are_ordered_by_probability() -> None:
    (ax,) = plot_ecg(SIGNAL, RATE, title="A0001", findings={"AF": 0.2, "RBBB": 0.9}).axes
    assert ax.get_title(loc="left") == "A0001\nRBBB 0.90   AF 0.20"
    (ax,) = plot_ecg(SIGNAL, RATE, title="A0001", findings=pd.Series({"AF": 0.2, "RBBB": 0.9})).axes
    assert ax.get_title(loc="left") == "A0001\nRBBB 0.90   AF 0.20"
    (ax,) = plot_ecg(SIGNAL, RATE, title="A0001", findings=np.array(["AF", "RBBB"])).axes
    assert ax.get_title(loc="left") == "A0001\nAF   RBBB"


@pytest.mark.parametrize("seconds", [2.5, 10])
def test_many_findings_take_as_many_lines_as_the_paper_has_room_for(seconds: float) -> None:
    findings = {f"LONGNAME{number}": 1 - number / 30 for number in range(30)}
    figure = plot_ecg(SIGNAL[:, : round(seconds * RATE)], RATE, findings=findings)
    (ax,) = figure.axes
    heading = ax.get_title(loc="left")
    assert heading.split() == [word for name, share in findings.items() for word in (name, f"{share:.2f}")]
    figure.draw_without_rendering()
    (title,) = (text for text in ax.findobj(Text) if text.get_text() == heading)
    box = title.get_window_extent()
    assert (box.x0, box.x1) >= (0, 0)
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("text", ["a$x^2$", r"$\foo$", "100 $ and 200 $"])
def test_names_are_drawn_as_they_are(text: str) -> None:
    figure = plot_ecg(SIGNAL, RATE, title=text, findings={text: 0.5})
    figure.savefig(io.BytesIO())
    written = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(written, format="svg")
    assert f"{text} 0.50" in written.getvalue()


def test_a_single_finding_need_not_be_a_list() -> None:
    (ax,) = plot_ecg(SIGNAL, RATE, findings="AF").axes
    assert ax.get_title(loc="left") == "AF"


def test_names_of_leads_are_read_before_a_tall_wave() -> None:
    (ax,) = plot_ecg(SIGNAL, RATE).axes
    highest = max(line.get_zorder() for line in ax.lines)
    for text in ax.texts[:-1]:
        patch = text.get_bbox_patch()
        assert patch is not None
        assert patch.get_facecolor()[:3] == (1, 1, 1)
        assert text.get_zorder() > highest


def test_a_given_axes_is_used() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert plot_ecg(SIGNAL, RATE, ax=ax) is figure
    assert len(traces(ax)) == 13


@pytest.mark.parametrize("shape", [(8, 100), (12, 0), (1200,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(12, samples\\)"):
        plot_ecg(np.zeros(shape), RATE)


@pytest.mark.parametrize("rate", [0, -500, np.nan, np.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"sampling_rate is .*, expected hertz above 0"):
        plot_ecg(SIGNAL, rate)


def test_infinite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite values; put NaN where a sample is missing"):
        plot_ecg(np.where(SIGNAL > 1, np.inf, SIGNAL), RATE)


def test_importing_does_not_import_matplotlib() -> None:
    code = "import sys, data_modules.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_pyplot_is_left_alone() -> None:
    code = (
        "import sys, numpy, data_modules.plot as p; p.plot_ecg(numpy.zeros((12, 99)), 100);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_page_of_conditions(tmp_path: Path) -> None:
    path = plot_conditions(tmp_path / "page.png", conditions=("NORM", "RAD"), num_columns=2)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_microvolts_are_not_drawn() -> None:
    with pytest.raises(ValueError, match=r"signal holds 1\.2e\+03 mV, no ECG more than 1000: is it in millivolts"):
        plot_ecg(np.full((12, 100), 1200.0), RATE)
    plot_ecg(np.full((12, 100), np.nan), RATE)
