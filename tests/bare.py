"""A head, a loss and a constraint without any trait, which refuse to be used."""

from cvxdistill.heads import Head
from cvxdistill.labels import LabelConstraint, LabelLoss


class BareHead(Head):
    def fit(self, features, labels):
        raise AssertionError("asked before its traits were")


class BareLoss(LabelLoss):
    name = "bare"

    def code(self, labels, *, num_classes):
        raise AssertionError("asked before its traits were")

    def code_statistics(self, statistics):
        raise AssertionError("asked before its traits were")

    def value(self, logits, targets):
        raise AssertionError("asked before its traits were")


class BareConstraint(LabelConstraint):
    name = "bare"

    def project(self, labels):
        raise AssertionError("asked before its traits were")
