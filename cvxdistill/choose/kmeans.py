"""Base examples next to the centres of k-means."""

import dataclasses
import warnings
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cvxdistill.choose.geometry import GeometricChooser

# Up to here Lloyd's iterations over all rows take seconds; beyond, mini-batches do.
FULL_ROWS = 20_000


@dataclasses.dataclass(frozen=True)
class KMeans(GeometricChooser):
    """Clusters the features and takes the real example nearest to each centre.

    Choose it where base examples are to be typical and unlike one another, or where people will
    look at them. Clusters differ for another number of examples, so a smaller choice is not the
    beginning of a larger one. scikit-learn's `KMeans`, and `MiniBatchKMeans` for more than 20,000
    rows, both started by k-means++.

    Sources: Lloyd (1982), "Least squares quantization in PCM",
    <https://doi.org/10.1109/TIT.1982.1056489>; Arthur and Vassilvitskii (2007), "k-means++".

    Attributes:
        per_class: cluster every class by itself; else all examples at once.

    Example:
        >>> from cvxdistill.choose import BaseRequest
        >>> from cvxdistill.data import ImageSet
        >>> z = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
        >>> data = ImageSet(z, torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), name="line")
        >>> KMeans(per_class=False).choose(BaseRequest(data, 2)).sort().values.tolist()
        [1, 4]
    """

    name: ClassVar[str] = "kmeans"
    drawn: ClassVar[bool] = True

    def pick(self, features: Tensor, examples: int, seed: int) -> Tensor:
        """Return the row nearest to each centre, in the order of the clusters."""
        from sklearn.cluster import KMeans as Lloyd
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

        rows = features.detach().to("cpu", torch.float32).numpy()
        kind = Lloyd if len(rows) <= FULL_ROWS else MiniBatchKMeans
        with warnings.catch_warnings():
            # Fewer distinct rows than clusters: those left empty are filled below.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = kind(examples, n_init=3, random_state=seed % 2**32).fit(rows)
        # The nearest within the cluster, so that no row is taken twice.
        distances = np.square(rows - model.cluster_centers_[model.labels_]).sum(1)
        order = np.lexsort((distances, model.labels_))
        nearest = np.unique(model.labels_[order], return_index=True)[1]
        chosen = order[nearest]
        rest = np.setdiff1d(np.arange(len(rows)), chosen)[: examples - len(chosen)]
        return torch.from_numpy(np.concatenate([chosen, rest])).to(torch.int64)
