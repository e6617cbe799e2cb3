"""Exact match with Wilson's 95% interval, as a module for Hugging Face's ``evaluate`` that loads without a network."""

from __future__ import annotations

import datasets
import evaluate

from lib.evaluation.metrics import wilson


class ExactMatchMetric(evaluate.Metric):
    """predictions and references: texts of equal number."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description=__doc__ or "", citation="", features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        right = sum(p == r for p, r in zip(predictions, references, strict=True))
        low, high = wilson(right, len(predictions))
        share = right / len(predictions) if predictions else float("nan")
        return {"exact_match": share, "low": low, "high": high, "n": len(predictions)}
