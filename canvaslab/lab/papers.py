"""The papers that claims are held against: reading-list id -> citation."""

from difflib import get_close_matches
from typing import NamedTuple


class Paper(NamedTuple):
    """One paper: `citation` for readers, `year`, `url`."""

    citation: str
    year: int
    url: str


PAPERS: dict[str, Paper] = {
    "vincent-dsm": Paper("Vincent 2011", 2011, "https://doi.org/10.1162/NECO_a_00142"),
    "fashion-mnist": Paper("Xiao et al. 2017", 2017, "https://arxiv.org/abs/1708.07747"),
    "fid": Paper("Heusel et al. 2017", 2017, "https://arxiv.org/abs/1706.08500"),
    "ddpm": Paper("Ho et al. 2020", 2020, "https://arxiv.org/abs/2006.11239"),
    "ddim": Paper("Song, Meng and Ermon 2021", 2021, "https://arxiv.org/abs/2010.02502"),
    "score-sde": Paper("Song et al. 2021", 2021, "https://arxiv.org/abs/2011.13456"),
    "cfg": Paper("Ho and Salimans 2022", 2022, "https://arxiv.org/abs/2207.12598"),
    "edm": Paper("Karras et al. 2022", 2022, "https://arxiv.org/abs/2206.00364"),
    "dpm-solver++": Paper("Lu et al. 2022", 2022, "https://arxiv.org/abs/2211.01095"),
    "edm2": Paper("Karras et al. 2024", 2024, "https://arxiv.org/abs/2312.02696"),
    "muon": Paper("Jordan et al. 2024", 2024, "https://kellerjordan.github.io/posts/muon/"),
    "v-prediction": Paper("Salimans and Ho 2022", 2022, "https://arxiv.org/abs/2202.00512"),
    "flow-matching": Paper("Lipman et al. 2023", 2023, "https://arxiv.org/abs/2210.02747"),
    "ghvb": Paper("Wizadwongsa et al. 2024", 2024, "https://arxiv.org/abs/2307.11118"),
    "apg": Paper("Sadat et al. 2025", 2025, "https://arxiv.org/abs/2410.02416"),
    "diffusion-elbo": Paper("Kingma and Gao 2023", 2023, "https://arxiv.org/abs/2303.00848"),
    "autoguidance": Paper("Karras et al. 2024 (autoguidance)", 2024, "https://arxiv.org/abs/2406.02507"),
    "cfg-predictor-corrector": Paper("Bradley and Nakkiran 2024", 2024, "https://arxiv.org/abs/2408.09000"),
    "guidance-interval": Paper("Kynkäänniemi et al. 2024", 2024, "https://arxiv.org/abs/2404.07724"),
    "mode-interpolation": Paper("Aithal et al. 2024", 2024, "https://arxiv.org/abs/2406.09358"),
    "ldm": Paper("Rombach et al. 2022", 2022, "https://arxiv.org/abs/2112.10752"),
    "dit": Paper("Peebles and Xie 2023", 2023, "https://arxiv.org/abs/2212.09748"),
    "commoncanvas": Paper("Gokaslan et al. 2024", 2024, "https://arxiv.org/abs/2310.16825"),
    "simple-diffusion": Paper("Hoogeboom et al. 2023", 2023, "https://arxiv.org/abs/2301.11093"),
    "sid2": Paper("Hoogeboom et al. 2024", 2024, "https://arxiv.org/abs/2410.19324"),
}


def paper(key: str) -> Paper:
    """The `Paper` with this reading-list id. ValueError with the nearest ids if there is none."""
    if key in PAPERS:
        return PAPERS[key]
    near = get_close_matches(str(key), PAPERS, n=3) or sorted(PAPERS)
    raise ValueError(
        f"paper={key!r} is not in the reading list; did you mean {', '.join(map(repr, near))}? "
        "Add new papers to canvaslab/lab/papers.py."
    )
