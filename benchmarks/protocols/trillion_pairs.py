"""Trillion-Pairs-style figures: identification at FPR 1e-3 and verification at FPR 1e-9, by the code of `megaface`.

The challenge (DeepGlint 2018) searched LFW's people among 1.58 million distractors on its own server. Here its two
operating points are read off the same trials as MegaFace's; FPR of identification is FPIR, the share of probes that,
searched without their mate, find somebody. Verification at 1e-9 takes 3e9 pairs of probe and distractor.
"""

from dataclasses import replace

from benchmarks.protocols.megaface import megaface
from benchmarks.results.results import Results
from faceid.feature_set import FeatureSet

IDENTIFICATION_FPR = 1e-3
VERIFICATION_FPR = 1e-9


def trillion_pairs(probes: FeatureSet, distractors: FeatureSet, name: str = "") -> Results:
    """Return TPIR's complement at FPIR 1e-3 and TAR at FAR 1e-9 among all distractors; each refused where unsupported.

    Arguments and errors as of `megaface`.
    """
    results = megaface(
        probes, distractors, [len(distractors)], fars=[VERIFICATION_FPR], fpirs=[IDENTIFICATION_FPR], name=name
    )
    return replace(
        results,
        protocol="trillion-pairs-style",
        conventions=results.conventions | {"operating points": "identification at FPIR 1e-3, verification at FAR 1e-9"},
    )
