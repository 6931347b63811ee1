"""The linear probe: the same optimum as scikit-learn's logistic regression."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from airframe.config import TrainConfig
from airframe.probe import _fit_linear


def test_the_fit_equals_logistic_regression():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    features = centres[labels] + rng.normal(size=(90, 4))
    penalty = 0.01
    # scikit-learn minimises C · sum of NLL + |w|² / 2: divided by C · n, the mean NLL + |w|² / 2Cn.
    oracle = LogisticRegression(C=1 / (2 * 90 * penalty), tol=1e-8, max_iter=1000)
    oracle.fit(features, labels)
    weight, bias = _fit_linear(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(np.eye(3, dtype=bool)[labels]),
        torch.tensor([0, 1, 2]),
        TrainConfig(label_smoothing=0.0, family_weight=0.0),
        penalty,
    )
    ours = (torch.tensor(features).float() @ weight.T + bias).softmax(1).numpy()
    np.testing.assert_allclose(ours, oracle.predict_proba(features), atol=2e-3)


def test_a_larger_penalty_gives_smaller_weights():
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    allowed = torch.nn.functional.one_hot(features[:, :3].argmax(1), 3).bool()
    sizes = [
        _fit_linear(features, allowed, torch.tensor([0, 0, 1]), TrainConfig(), p)[0].norm().item()
        for p in (0.001, 0.01, 0.1)
    ]
    assert sizes[0] > sizes[1] > sizes[2] > 0
