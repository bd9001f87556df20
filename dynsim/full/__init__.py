"""The model itself: one explicit matrix Q in R^{d x d}, descended on given images. The reference of the reduced dynamics.

A query p has vector e_p (e_p + mu where it is masked and there is a mask token mu). A key q has vector X_q + e_q and value X_q
where it is unmasked, vector e_q + mu and value 0 (or mu) where it is masked. With attn_{p,.} the softmax over q of
query_p^T Q key_q, and output_p = sum_q attn_pq value_q, there are two losses:

    reconstruction   L_rec(Q) = 1/2 sum_i w_i sum_{p masked in i} || output_p - X_p ||^2                 (docs/model.md, eq. 2-3)
    contrastive      L_con(Q) = -(tau / n) sum_i log softmax_j( <F(X_i^a), F(X_j^b)> / tau )_{j=i},
                     F(X) = 1/P sum_p output_p, over every patch p of a view              (docs/contrastive.md, eq. D1-D2)

What is descended is L = L_rec + weight L_con, or one of them. Nothing here knows that few numbers describe Q: it imports
nothing from dynsim.reduced, builds every patch as a vector of R^d in a basis turned at random, gives every patch its own map,
and even steps Q with its own update rules. `descend_images` is L_rec on any images.
"""

from dynsim.full.descent import correlations, descend, gradient
from dynsim.full.images import descend_images

__all__ = ["correlations", "descend", "descend_images", "gradient"]
