"""What a query attends to: attention maps of given images, and measures of how local and how diverse they are.

On an image of cluster k, with amplitudes z and unmasked patches U, a query p attends to key q (docs/model.md, eq. 2) by

    attn_pq = softmax_q( 1{q in U} z_{m(q)} Phi_{p,(k,m(q))} + Upsilon_pq ),    A_pm = sum_{q in U, q in area m} attn_pq,

so a map follows from the correlations of any run on a partition, reduced or full. Which patches are queries depends on the
objective (`queries`):

    "masked"            the masked patches of each image: reconstruction, the default for a Dataset
    "all"               every patch of each masked image: contrastive learning (eq. D1), the default for Pairs, both of whose
                        views count
    "unmasked images"   every patch, and nothing is masked: how trained networks are measured in practice

Rows of other patches are NaN. Expectations are means over images; their error is that of the sample. With a mask token (fp has
F + 1 columns) masked keys carry its correlation, and only masked queries are known. Orbits have no positions: their area
attention is in the trajectory.

Measures act on any map (queries, keys) of numbers that sum to one along a row, as a plain array; they leave out NaN rows, and
give every query the same weight. `measures` and `along` average them over images, so that they compare with published ones:

    Park et al. 2023    (the notebook self_attention_analysis.ipynb of github.com/naver-ai/cl-vs-mim) 224 x 224 pixels, unmasked,
                        all 196 queries, the class token's row and column cut and rows normalised again; each head by itself, then
                        means over heads and images. Normalised mutual information: this one, `mutual_information`, on
                        "unmasked images" (there natural logarithms, too; 1e-8 is added to each weight). Attention distance is in
                        pixels: `distance` times the side of a patch, 16.
    Walmer et al. 2023  (github.com/mwalmer-umd/vit_analysis) patches on the unit square, from 0 to 1 along each side, class token
                        cut as above: `distance` divided by the patches along a side less one, 13 of 14.

Attention distance was introduced with the vision transformer by Dosovitskiy et al. 2021 and taken up by Raghu et al. 2021.

Examples
--------
Of maps of your own: (queries, keys), a class token first, on a grid of 3 x 3 patches of 16 x 16 pixels.

>>> import numpy as np
>>> from dynsim.analysis import attention
>>> attn = np.random.default_rng(0).dirichlet(np.ones(10), size=10)
>>> attn = attn[1:, 1:] / attn[1:, 1:].sum(axis=1, keepdims=True)
>>> pixels = 16 * attention.distance(attn, (3, 3)).mean()
>>> print(f"{pixels:.1f} px, NMI {attention.mutual_information(attn):.2f}, similarity {attention.similarity(attn):.2f}")
23.7 px, NMI 0.13, similarity 0.60
"""

from dynsim.analysis.attention.maps import along, area_attention, attention_map, measures
from dynsim.analysis.attention.measure import distance, entropy, kl_from_mean, mutual_information, similarity

__all__ = [
    "along", "area_attention", "attention_map", "distance", "entropy", "kl_from_mean", "measures", "mutual_information",
    "similarity",
]
