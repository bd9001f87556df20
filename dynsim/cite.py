"""What to cite: this software, the paper whose model it runs, and the methods that it uses."""

from dynsim import __version__

REFERENCES: tuple[dict[str, str], ...] = (
    {
        "key": "dynsim",
        "kind": "software",
        "for": "this software",
        "author": "{The dynsim developers}",
        "title": "dynsim: masked-pretraining dynamics of a one-layer softmax-attention transformer",
        "note": f"Version {__version__}",
        "year": "2026",
    },
    {
        "key": "huang2024transformers",
        "kind": "article",
        "for": "the model and the theory",
        "author": "Huang, Yu and Wen, Zixin and Chi, Yuejie and Liang, Yingbin",
        "title": "How Transformers Learn Diverse Attention Correlations in Masked Vision Pretraining",
        "journal": "arXiv:2403.02233",
        "note": "Later version: A Theoretical Analysis of Self-Supervised Learning for Vision Transformers, ICLR 2025",
        "year": "2024",
    },
    {
        "key": "oord2018representation",
        "kind": "article",
        "for": "the contrastive loss, InfoNCE",
        "author": "van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol",
        "title": "Representation Learning with Contrastive Predictive Coding",
        "journal": "arXiv:1807.03748",
        "year": "2018",
    },
    {
        "key": "chen2021empirical",
        "kind": "inproceedings",
        "for": "two views of an image with a stopped gradient, MoCo v3",
        "author": "Chen, Xinlei and Xie, Saining and He, Kaiming",
        "title": "An Empirical Study of Training Self-Supervised Vision Transformers",
        "booktitle": "Proceedings of the IEEE/CVF International Conference on Computer Vision",
        "year": "2021",
    },
    {
        "key": "dosovitskiy2021image",
        "kind": "inproceedings",
        "for": "attention distance",
        "author": "Dosovitskiy, Alexey and others",
        "title": "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "booktitle": "International Conference on Learning Representations",
        "year": "2021",
    },
    {
        "key": "raghu2021vision",
        "kind": "inproceedings",
        "for": "mean attention distance of trained vision transformers",
        "author": "Raghu, Maithra and Unterthiner, Thomas and Kornblith, Simon and Zhang, Chiyuan and Dosovitskiy, Alexey",
        "title": "Do Vision Transformers See Like Convolutional Neural Networks?",
        "booktitle": "Advances in Neural Information Processing Systems 34",
        "year": "2021",
    },
    {
        "key": "park2023what",
        "kind": "inproceedings",
        "for": "normalised mutual information of attention",
        "author": "Park, Namuk and Kim, Wonjae and Heo, Byeongho and Kim, Taekyung and Yun, Sangdoo",
        "title": "What Do Self-Supervised Vision Transformers Learn?",
        "booktitle": "International Conference on Learning Representations",
        "year": "2023",
    },
    {
        "key": "walmer2023teaching",
        "kind": "inproceedings",
        "for": "attention distance on the unit square, under many kinds of supervision",
        "author": "Walmer, Matthew and Suri, Saksham and Gupta, Kamal and Shrivastava, Abhinav",
        "title": "Teaching Matters: Investigating the Role of Supervision in Vision Transformers",
        "booktitle": "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        "year": "2023",
    },
    {
        "key": "petzold1983automatic",
        "kind": "article",
        "for": "LSODA, the integrator of gradient flow",
        "author": "Petzold, Linda",
        "title": "Automatic Selection of Methods for Solving Stiff and Nonstiff Systems of Ordinary Differential Equations",
        "journal": "SIAM Journal on Scientific and Statistical Computing",
        "volume": "4",
        "number": "1",
        "pages": "136--148",
        "doi": "10.1137/0904010",
        "year": "1983",
    },
    {
        "key": "harris2020array",
        "kind": "article",
        "for": "NumPy",
        "author": "Harris, Charles R. and others",
        "title": "Array programming with {NumPy}",
        "journal": "Nature",
        "volume": "585",
        "pages": "357--362",
        "doi": "10.1038/s41586-020-2649-2",
        "year": "2020",
    },
    {
        "key": "virtanen2020scipy",
        "kind": "article",
        "for": "SciPy: quadrature, the hypergeometric law, ODEs",
        "author": "Virtanen, Pauli and others",
        "title": "{SciPy} 1.0: fundamental algorithms for scientific computing in {Python}",
        "journal": "Nature Methods",
        "volume": "17",
        "pages": "261--272",
        "doi": "10.1038/s41592-019-0686-2",
        "year": "2020",
    },
    {
        "key": "lam2015numba",
        "kind": "inproceedings",
        "for": "Numba: compiled kernels",
        "author": "Lam, Siu Kwan and Pitrou, Antoine and Seibert, Stanley",
        "title": "Numba: a {LLVM}-based {Python} {JIT} compiler",
        "booktitle": "Proceedings of the Second Workshop on the LLVM Compiler Infrastructure in HPC",
        "doi": "10.1145/2833157.2833162",
        "year": "2015",
    },
)
_FIELDS = ("author", "title", "journal", "booktitle", "volume", "number", "pages", "doi", "note", "year")
_PLACE = ("journal", "booktitle", "note")


def text() -> str:
    """Return the references as readable text.

    Returns
    -------
    str
        Two lines per reference: what it is for, and the reference.

    Examples
    --------
    >>> from dynsim import cite
    >>> print(cite.text())
    this software
        The dynsim developers (2026). dynsim: ...
    the model and the theory
        Yu Huang, Zixin Wen, Yuejie Chi, Yingbin Liang (2024). How Transformers Learn ...
    """
    lines = []
    for entry in REFERENCES:
        place = "; ".join(entry[name] for name in _PLACE if name in entry)
        where = " ".join(part for part in (place, entry.get("volume", ""), entry.get("pages", "").replace("--", "-")) if part)
        doi = f", doi:{entry['doi']}" if "doi" in entry else ""
        line = f"{_names(entry['author'])} ({entry['year']}). {entry['title']}. {where}{doi}."
        lines.append(f"{entry['for']}\n    {line}".replace("{", "").replace("}", ""))
    return "\n".join(lines)


def bibtex() -> str:
    """Return the references as BibTeX.

    Returns
    -------
    str
        An entry per reference.

    Examples
    --------
    >>> from dynsim import cite
    >>> "@article{huang2024transformers," in cite.bibtex()
    True
    """
    entries = []
    for entry in REFERENCES:
        kind = "misc" if entry["kind"] == "software" else entry["kind"]
        fields = ",\n".join(f"  {name} = {{{entry[name]}}}" for name in _FIELDS if name in entry)
        entries.append(f"@{kind}{{{entry['key']},\n{fields}\n}}")
    return "\n\n".join(entries)


def _names(authors: str) -> str:
    """BibTeX's "Last, First and Last, First" as "First Last, First Last"."""
    names = [" ".join(reversed(name.split(", "))) for name in authors.split(" and ")]
    return ", ".join("et al." if name == "others" else name for name in names)
