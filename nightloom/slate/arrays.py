"""Array types of the slate engine.

Shapes: B users, A items (a model's, then those that it does not know), X candidates of a user, K places of a list, k of
a page, R rules, F effects that hide items, G groups that a limit counts, S sets of items with reserved places, P pins.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bools: TypeAlias = NDArray[np.bool_]
F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
