"""Each condition, measured from the signal alone against the criterion that a cardiologist uses."""

from __future__ import annotations

import numpy as np
import pytest
from ecg_measurement import LEAD, Measured, activity, measure, r_peaks

from data_modules.simulation import CONDITIONS, simulate_ecg
from data_modules.simulation.dipole import fibrillation_waves
from data_modules.simulation.lead_field import DOWER

SEEDS = range(12)


def measured(*conditions: str) -> list[Measured]:
    return [measure(simulate_ecg(conditions, seed=seed, noise=0)) for seed in SEEDS]


def test_a_normal_ecg_is_normal() -> None:
    for beat in measured("NORM"):
        assert 50 < beat.rate < 100
        assert beat.rr.std() / beat.rr.mean() < 0.1
        assert beat.qrs_ms < 112
        assert -30 < beat.axis < 95
        assert beat.qtc_ms < 465
        assert all(abs(beat.st(lead)) < 0.1 for lead in ("II", "V2", "V5", "V6"))
        assert all(beat.t(lead) > 0 for lead in ("I", "II", "V3", "V4", "V5", "V6"))
        assert beat.t("aVR") < 0
        assert beat.qrs("aVR").sum() < 0
        assert beat.sokolow_lyon < 3.5


def test_r_grows_from_v1_to_v4() -> None:
    shares = np.array(
        [
            [beat.qrs(lead).max() / np.ptp(beat.qrs(lead)) for lead in ("V1", "V2", "V3", "V4")]
            for beat in measured("NORM")
        ]
    )
    assert (np.diff(np.median(shares, axis=0)) > 0).all()
    # V1 and V2 may be alike in a single person; from there on R must grow in each.
    assert (shares[:, :2].max(axis=1) < shares[:, 2]).all()
    assert (shares[:, 2] < shares[:, 3]).all()
    assert (shares[:, 0] < 0.5).all()


@pytest.mark.parametrize(("condition", "low", "high"), [("SB", 35, 60), ("STACH", 100, 155)])
def test_rates(condition: str, low: float, high: float) -> None:
    assert all(low < beat.rate < high for beat in measured(condition))


def test_atrial_fibrillation_is_irregular_without_memory_and_has_no_p() -> None:
    steps: list[float] = []
    for seed in SEEDS:
        signal = simulate_ecg(["AF"], seed=seed, seconds=60, noise=0).astype(float)
        peaks = r_peaks(signal)
        rr = np.diff(peaks)
        assert rr.std() / rr.mean() > 0.12
        steps.append(float(np.corrcoef(rr[:-1], rr[1:])[0, 1]))
        # An average aligned on QRS keeps a P wave and wipes out what is not locked to QRS.
        before = np.mean([signal[LEAD["II"], peak - 110 : peak - 30] for peak in peaks[1:-1]], axis=0)
        assert np.ptp(before - np.polyval(np.polyfit(np.arange(80), before, 1), np.arange(80))) < 0.06
    assert abs(np.mean(steps)) < 0.15


def test_fibrillation_waves_have_4_to_10_hertz_and_are_largest_in_v1() -> None:
    for seed in SEEDS:
        leads = DOWER @ fibrillation_waves(0.1, 5000, 500, np.random.default_rng(seed))
        spectrum = np.abs(np.fft.rfft(leads[2]))
        assert 4 < np.fft.rfftfreq(5000, 1 / 500)[np.argmax(spectrum)] < 10
        assert np.argmax(leads.std(axis=1)) in (2, 3, 4)
        assert leads[2].std() > 2 * leads[6].std()


def test_first_degree_block_has_pr_above_200_ms() -> None:
    # Bradycardia keeps T of the beat before away from P, so that both can be measured.
    assert all(beat.pr_ms > 200 for beat in measured("IAVB", "SB"))
    assert all(100 < beat.pr_ms < 210 for beat in measured("SB"))


def test_left_bundle_branch_block() -> None:
    for beat in measured("LBBB"):
        assert beat.qrs_ms >= 120
        v1, v6 = beat.qrs("V1"), beat.qrs("V6")
        assert v1.max() < 0.3 * -v1.min()
        assert v6.max() > -3 * v6[:40].min()
        assert v6.max() > 0.4
        assert beat.t("V1") > 0 > beat.t("V6")
        assert beat.t("I") < 0


def test_right_bundle_branch_block() -> None:
    for beat in measured("RBBB"):
        assert beat.qrs_ms >= 120
        v1 = beat.qrs("V1")
        second = int(np.argmax(v1))
        trough = int(np.argmin(v1[:second]))
        assert v1[:trough].max() > 0.02, "r"
        assert v1[trough] < -0.05, "S"
        assert v1[second] > 0.3, "R'"
        assert beat.qrs("V6")[second - 5 : second + 5].max() < -0.1, "the wide S of V6 falls on R' of V1"
        assert beat.qrs("I").min() < -0.05
        assert beat.t("V1") < 0


def test_incomplete_right_bundle_branch_block_stays_below_120_ms() -> None:
    for beat in measured("IRBBB"):
        v1 = beat.qrs("V1")
        assert beat.qrs_ms < 120
        assert v1[int(np.argmin(v1)) :].max() > 0.1


@pytest.mark.parametrize("condition", ["PAC", "PVC"])
def test_premature_beats_are_early_and_differ_in_width(condition: str) -> None:
    for seed in SEEDS:
        signal = simulate_ecg([condition], seed=seed, noise=0).astype(float)
        rr = np.diff(r_peaks(signal))
        early = int(np.argmin(rr))
        assert rr[early] < 0.8 * np.median(rr)
        if condition == "PVC":
            assert 1.75 < (rr[early] + rr[early + 1]) / np.median(rr) < 2.3, "compensatory pause"
        peak = r_peaks(signal)[early + 1]
        usual = r_peaks(signal)[early]
        assert (width_ms(signal, peak) > 1.25 * width_ms(signal, usual)) == (condition == "PVC")


def width_ms(signal: np.ndarray, peak: int) -> float:
    """Time between the first and the last fast change around a beat."""
    moving = activity(signal[:, peak - 75 : peak + 75])
    fast = np.flatnonzero(moving > 0.15 * moving.max())
    return float((fast[-1] - fast[0]) * 2)


def test_left_and_right_axis() -> None:
    assert all(beat.axis < -28 for beat in measured("LAD"))
    assert all(beat.axis < -44 for beat in measured("LAFB"))
    assert all(beat.axis > 90 for beat in measured("RAD"))


def test_left_anterior_fascicular_block_has_qr_in_avl_and_rs_in_iii() -> None:
    for beat in measured("LAFB"):
        assert beat.qrs("III").max() > 0.02
        assert -beat.qrs("III").min() > 2 * beat.qrs("III").max()
        assert beat.qrs("aVL").max() > -2 * beat.qrs("aVL").min() > 0


def test_st_depression_and_elevation() -> None:
    assert all(beat.st("V5") < -0.08 for beat in measured("STD"))
    for beat in measured("STE"):
        raised = [lead for lead in LEAD if lead != "aVR" and beat.st(lead) > 0.1]
        assert len(raised) >= 2


def test_t_inversion_is_in_neighbouring_leads_and_deep() -> None:
    neighbours = (("II", "III", "aVF"), ("V2", "V3", "V4"), ("V4", "V5", "V6"), ("I", "V6", "V5"))
    for beat in measured("TINV"):
        assert any(sum(beat.t(lead) < -0.1 for lead in group) >= 2 for group in neighbours)


def test_t_abnormality_lowers_t() -> None:
    normal = np.median([beat.t("V5") / beat.qrs("V5").max() for beat in measured("NORM")])
    abnormal = [beat.t("V5") / beat.qrs("V5").max() for beat in measured("TAB")]
    assert np.median(abnormal) < 0.5 * normal


def test_long_qt() -> None:
    assert all(beat.qtc_ms > 460 for beat in measured("LQT"))


def test_hypertrophy_meets_sokolow_lyon_and_strains() -> None:
    beats = measured("LVH")
    assert all(beat.sokolow_lyon >= 3.5 for beat in beats)
    assert all(beat.st("V6") < -0.02 for beat in beats)
    assert np.median([beat.t("V6") for beat in beats]) < 0
    assert all(beat.sokolow_lyon >= 3.5 for beat in measured("HVOLT"))


def test_right_ventricular_hypertrophy() -> None:
    for beat in measured("RVH"):
        assert beat.qrs("V1").max() > -beat.qrs("V1").min()
        assert -beat.qrs("V6").min() > 0.2
        assert beat.axis > 90


def test_low_voltage() -> None:
    for seed in SEEDS:
        signal = simulate_ecg(["LVOLT"], seed=seed, noise=0)
        assert np.ptp(signal[:6], axis=1).max() < 0.55


@pytest.mark.parametrize(("condition", "leads"), [("IMI", ("III", "aVF")), ("LMI", ("I", "V6")), ("AMI", ("V2",))])
def test_infarction_leaves_q(condition: str, leads: tuple[str, ...]) -> None:
    """A Q of 30 ms and a fifth of R, or QS: the first deflection is negative."""
    for beat in measured(condition):
        for lead in leads:
            wave = beat.qrs(lead)
            above = np.flatnonzero(wave > 0.05)
            q_ms = (above[0] if len(above) else len(wave)) * 2
            assert q_ms >= 24
            assert -wave[: q_ms // 2 + 1].min() > 0.08


@pytest.mark.parametrize(
    ("condition", "raised", "lowered"),
    [("AMI_ACUTE", "V3", None), ("IMI_ACUTE", "III", "aVL"), ("LMI_ACUTE", "I", "III")],
)
def test_acute_infarction_raises_st(condition: str, raised: str, lowered: str | None) -> None:
    beats = measured(condition)
    assert all(beat.st(raised) > 0.08 for beat in beats)
    assert lowered is None or np.median([beat.st(lowered) for beat in beats]) < -0.03


def test_preexcitation_shortens_pr_and_widens_qrs() -> None:
    beats = measured("WPW", "SB")
    assert np.median([beat.qrs_ms for beat in beats]) > 110
    assert all(beat.pr_ms < 130 for beat in beats)


def test_atrial_enlargement_changes_p() -> None:
    def p_wave(beat: Measured, lead: str) -> np.ndarray:
        return beat.beat[LEAD[lead], beat.onset - 110 : beat.onset - 2]

    large, normal = ([p_wave(beat, "V1").min() for beat in measured(name)] for name in ("LAE", "NORM"))
    assert np.median(large) < 1.5 * np.median(normal) < 0
    assert all(p_wave(beat, "II").max() > 0.22 for beat in measured("RAE"))


@pytest.mark.parametrize("condition", [name for name in CONDITIONS if name != "NORM"])
def test_every_condition_changes_the_ecg(condition: str) -> None:
    normal = simulate_ecg(["NORM"], seed=5, noise=0)
    changed = simulate_ecg([condition], seed=5, noise=0)
    assert np.abs(normal - changed).max() > 0.1
