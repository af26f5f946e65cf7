"""The 71 SCP-ECG statements of PTB-XL and the classes its authors sort them into."""

from __future__ import annotations

from typing import NamedTuple


class ScpStatement(NamedTuple):
    """One row of `scp_statements.csv`, in its columns' terms.

    Source: Wagner et al. 2020, doi 10.1038/s41597-020-0495-6 (CC BY 4.0).
    """

    code: str
    description: str
    diagnostic: bool
    form: bool
    rhythm: bool
    diagnostic_class: str
    """One of NORM, MI, STTC, HYP, CD; empty for a statement that is not diagnostic."""
    diagnostic_subclass: str


SCP_STATEMENTS = (
    ScpStatement("NDT", "non-diagnostic T abnormalities", True, True, False, "STTC", "STTC"),
    ScpStatement("NST_", "non-specific ST changes", True, True, False, "STTC", "NST_"),
    ScpStatement("DIG", "digitalis-effect", True, True, False, "STTC", "STTC"),
    ScpStatement("LNGQT", "long QT-interval", True, True, False, "STTC", "STTC"),
    ScpStatement("NORM", "normal ECG", True, False, False, "NORM", "NORM"),
    ScpStatement("IMI", "inferior myocardial infarction", True, False, False, "MI", "IMI"),
    ScpStatement("ASMI", "anteroseptal myocardial infarction", True, False, False, "MI", "AMI"),
    ScpStatement("LVH", "left ventricular hypertrophy", True, False, False, "HYP", "LVH"),
    ScpStatement("LAFB", "left anterior fascicular block", True, False, False, "CD", "LAFB/LPFB"),
    ScpStatement("ISC_", "non-specific ischemic", True, False, False, "STTC", "ISC_"),
    ScpStatement("IRBBB", "incomplete right bundle branch block", True, False, False, "CD", "IRBBB"),
    ScpStatement("1AVB", "first degree AV block", True, False, False, "CD", "_AVB"),
    ScpStatement(
        "IVCD", "non-specific intraventricular conduction disturbance (block)", True, False, False, "CD", "IVCD"
    ),
    ScpStatement("ISCAL", "ischemic in anterolateral leads", True, False, False, "STTC", "ISCA"),
    ScpStatement("CRBBB", "complete right bundle branch block", True, False, False, "CD", "CRBBB"),
    ScpStatement("CLBBB", "complete left bundle branch block", True, False, False, "CD", "CLBBB"),
    ScpStatement("ILMI", "inferolateral myocardial infarction", True, False, False, "MI", "IMI"),
    ScpStatement("LAO/LAE", "left atrial overload/enlargement", True, False, False, "HYP", "LAO/LAE"),
    ScpStatement("AMI", "anterior myocardial infarction", True, False, False, "MI", "AMI"),
    ScpStatement("ALMI", "anterolateral myocardial infarction", True, False, False, "MI", "AMI"),
    ScpStatement("ISCIN", "ischemic in inferior leads", True, False, False, "STTC", "ISCI"),
    ScpStatement("INJAS", "subendocardial injury in anteroseptal leads", True, False, False, "MI", "AMI"),
    ScpStatement("LMI", "lateral myocardial infarction", True, False, False, "MI", "LMI"),
    ScpStatement("ISCIL", "ischemic in inferolateral leads", True, False, False, "STTC", "ISCI"),
    ScpStatement("LPFB", "left posterior fascicular block", True, False, False, "CD", "LAFB/LPFB"),
    ScpStatement("ISCAS", "ischemic in anteroseptal leads", True, False, False, "STTC", "ISCA"),
    ScpStatement("INJAL", "subendocardial injury in anterolateral leads", True, False, False, "MI", "AMI"),
    ScpStatement("ISCLA", "ischemic in lateral leads", True, False, False, "STTC", "ISCA"),
    ScpStatement("RVH", "right ventricular hypertrophy", True, False, False, "HYP", "RVH"),
    ScpStatement("ANEUR", "ST-T changes compatible with ventricular aneurysm", True, False, False, "STTC", "STTC"),
    ScpStatement("RAO/RAE", "right atrial overload/enlargement", True, False, False, "HYP", "RAO/RAE"),
    ScpStatement("EL", "electrolytic disturbance or drug (former EDIS)", True, False, False, "STTC", "STTC"),
    ScpStatement("WPW", "Wolf-Parkinson-White syndrome", True, False, False, "CD", "WPW"),
    ScpStatement("ILBBB", "incomplete left bundle branch block", True, False, False, "CD", "ILBBB"),
    ScpStatement("IPLMI", "inferoposterolateral myocardial infarction", True, False, False, "MI", "IMI"),
    ScpStatement("ISCAN", "ischemic in anterior leads", True, False, False, "STTC", "ISCA"),
    ScpStatement("IPMI", "inferoposterior myocardial infarction", True, False, False, "MI", "IMI"),
    ScpStatement("SEHYP", "septal hypertrophy", True, False, False, "HYP", "SEHYP"),
    ScpStatement("INJIN", "subendocardial injury in inferior leads", True, False, False, "MI", "IMI"),
    ScpStatement("INJLA", "subendocardial injury in lateral leads", True, False, False, "MI", "AMI"),
    ScpStatement("PMI", "posterior myocardial infarction", True, False, False, "MI", "PMI"),
    ScpStatement("3AVB", "third degree AV block", True, False, False, "CD", "_AVB"),
    ScpStatement("INJIL", "subendocardial injury in inferolateral leads", True, False, False, "MI", "IMI"),
    ScpStatement("2AVB", "second degree AV block", True, False, False, "CD", "_AVB"),
    ScpStatement("ABQRS", "abnormal QRS", False, True, False, "", ""),
    ScpStatement("PVC", "ventricular premature complex", False, True, False, "", ""),
    ScpStatement("STD_", "non-specific ST depression", False, True, False, "", ""),
    ScpStatement("VCLVH", "voltage criteria (QRS) for left ventricular hypertrophy", False, True, False, "", ""),
    ScpStatement("QWAVE", "Q waves present", False, True, False, "", ""),
    ScpStatement("LOWT", "low amplitude T-waves", False, True, False, "", ""),
    ScpStatement("NT_", "non-specific T-wave changes", False, True, False, "", ""),
    ScpStatement("PAC", "atrial premature complex", False, True, False, "", ""),
    ScpStatement("LPR", "prolonged PR interval", False, True, False, "", ""),
    ScpStatement("INVT", "inverted T-waves", False, True, False, "", ""),
    ScpStatement("LVOLT", "low QRS voltages in the frontal and horizontal leads", False, True, False, "", ""),
    ScpStatement("HVOLT", "high QRS voltage", False, True, False, "", ""),
    ScpStatement("TAB_", "T-wave abnormality", False, True, False, "", ""),
    ScpStatement("STE_", "non-specific ST elevation", False, True, False, "", ""),
    ScpStatement("PRC(S)", "premature complex(es)", False, True, False, "", ""),
    ScpStatement("SR", "sinus rhythm", False, False, True, "", ""),
    ScpStatement("AFIB", "atrial fibrillation", False, False, True, "", ""),
    ScpStatement("STACH", "sinus tachycardia", False, False, True, "", ""),
    ScpStatement("SARRH", "sinus arrhythmia", False, False, True, "", ""),
    ScpStatement("SBRAD", "sinus bradycardia", False, False, True, "", ""),
    ScpStatement("PACE", "normal functioning artificial pacemaker", False, False, True, "", ""),
    ScpStatement("SVARR", "supraventricular arrhythmia", False, False, True, "", ""),
    ScpStatement("BIGU", "bigeminal pattern (unknown origin, SV or Ventricular)", False, False, True, "", ""),
    ScpStatement("AFLT", "atrial flutter", False, False, True, "", ""),
    ScpStatement("SVTAC", "supraventricular tachycardia", False, False, True, "", ""),
    ScpStatement("PSVT", "paroxysmal supraventricular tachycardia", False, False, True, "", ""),
    ScpStatement("TRIGU", "trigeminal pattern (unknown origin, SV or Ventricular)", False, False, True, "", ""),
)
"""In the published order."""
