"""scikit-learn's own checks of estimators: all of them, with no exception."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from cvxdistill.sklearn import LabelDistiller, LabelDistillerRegressor

# What another loss can change: probabilities, weights, and how far a solve gets.
OF_THE_LOSS = (
    "check_classifiers_classes",
    "check_classifiers_one_label_sample_weights",
    "check_decision_proba_consistency",
    "check_estimators_dtypes",
    "check_sample_weight_equivalence_on_dense_data",
)


def checks_of_the_loss():
    estimator = LabelDistiller(loss="cross_entropy")
    for made, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        if name in OF_THE_LOSS:
            yield pytest.param(made, check, id=str(len(check.keywords)) + name)


@parametrize_with_checks([LabelDistiller(), LabelDistillerRegressor()])
def test_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("estimator", "check"), list(checks_of_the_loss()))
def test_estimator_with_cross_entropy(estimator, check):
    check(estimator)


def test_the_checks_of_the_loss_are_those_that_were_named():
    names = {check.values[1].func.__name__ for check in checks_of_the_loss()}
    assert names == set(OF_THE_LOSS)
