"""How the papers' tables call sources, methods, sets and attacks, and what we call them; what maps to nothing says why.

Every table here is written by hand. A name that is in none of them is refused when the numbers are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zsr_core.names import PromptSet

UNTOUCHED = "CLIP"  # the model before fine-tuning, in every paper's tables
UNTRAINED = (UNTOUCHED, "TTC")  # TTC is a defence of the model before fine-tuning
SETS: Mapping[str, str] = {
    "TinyImageNet": "tiny_imagenet", "CIFAR10": "cifar10", "CIFAR100": "cifar100", "STL10": "stl10", "SUN397": "sun397",
    "Food101": "food101", "OxfordPets": "oxford_pets", "Flowers102": "flowers102", "DTD": "dtd", "EuroSAT": "eurosat",
    "FGVCAircraft": "fgvc_aircraft", "ImageNet": "imagenet", "Caltech101": "caltech101", "Caltech256": "caltech256",
    "StanfordCars": "stanford_cars", "PCAM": "pcam", "ImageNet-A": "imagenet_a",
}  # fmt: skip
SIXTEEN = tuple(task for task in SETS.values() if task != "imagenet_a")
# (source, as printed) -> the sets it is the mean of. The 16-set means hold the training set, Tiny-ImageNet.
AVERAGES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("CompTGA-2026", "Average16"): SIXTEEN,
    ("UCAT-2026", "Average16"): SIXTEEN,
    ("CAW-2025", "Average15"): tuple(task for task in SIXTEEN if task != "imagenet"),
    ("AGFT-2026", "Average15"): tuple(task for task in SIXTEEN if task != "tiny_imagenet"),
}
OTHER_DATA: Mapping[str, str] = {
    "zeroshot_avg_CLIP_benchmark": "a mean over CLIP_benchmark's sets, whose own numbers are not given",
    "COCO2017-multilabel": "several labels an image: none of our tasks",
    "COCO2017-val": "detection by crops: none of our tasks",
    "ImageNet-S-50": "masks: none of our tasks",
    "ImageNet-S-300": "masks: none of our tasks",
    "ImageNet-S-919": "masks: none of our tasks",
    "TinyImageNet train": "the cost of training, no task",
    "unspecified": "the table does not name its images",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where numbers come from, and what all of them have in common."""

    title: str
    where: str
    trained_on: str  # our name of the training set
    train_eps: float  # in [0, 1] pixel units; a method's name may say otherwise (FARE4 is 4/255)
    mean: str  # the average that its tables compare methods by, as printed
    prompts: PromptSet  # names and templates of the classes
    native: tuple[str, ...] = ()  # tasks attacked at the files' own resolution; all others at the model's input
    caveat: str = ""


SOURCES: Mapping[str, Source] = {
    "CompTGA-2026": Source(
        title="Comp-TGA",
        where="arXiv 2603.18598",
        trained_on="tiny_imagenet",
        train_eps=1 / 255,
        mean="Average16",
        prompts="tga",
        caveat="AutoAttack is APGD-CE and APGD-DLR in its code; its rows of TGA-ZSR and Comp-TGA come from other "
        "weights than their PGD and CW rows.",
    ),
    "UCAT-2026": Source(
        title="UCAT",
        where="arXiv 2512.12997; the tables of the rebuttal in VivienLu/UCAT",
        trained_on="tiny_imagenet",
        train_eps=1 / 255,
        mean="Average16",
        prompts="tga",
        caveat="AutoAttack is APGD-CE and APGD-DLR; the baselines were trained again by UCAT's authors.",
    ),
    "FARE-2024": Source(
        title="FARE",
        where="chs20/RobustVLM, README",
        trained_on="imagenet",
        train_eps=2 / 255,
        mean="zeroshot_avg_CLIP_benchmark",
        prompts="openai-ensemble",
        native=("cifar10", "cifar100", "stl10"),
        caveat="AutoAttack is APGD-CE and APGD-T, on 1000 images of each set; the single sets' numbers are not given.",
    ),
    "AGFT-2026": Source(
        title="AGFT",
        where="arXiv 2603.29410",
        trained_on="imagenet",
        train_eps=1 / 255,
        mean="Average15",
        prompts="agft",
        native=("cifar10", "cifar100", "stl10"),
        caveat="AutoAttack is 10 iterations of APGD here; CIFAR and STL-10 are attacked at their own resolution.",
    ),
    "CAW-2025": Source(
        title="CAW",
        where="arXiv 2510.02913",
        trained_on="tiny_imagenet",
        train_eps=1 / 255,
        mean="Average15",
        prompts="tga",
        caveat="The baselines' rows are those of the TGA-ZSR paper; six of the fifteen sets' columns are known.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a printed name is here: our name, or None with the reason."""

    ours: str | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """What a table's row of a method is here."""

    title: str | None  # the method's title, UNTOUCHED, or None
    # The method's fields that differ from our defaults; None where the tables do not state its weights.
    fields: Mapping[str, float | str] | None = field(default_factory=dict)
    train_eps: float | None = None  # where the name says it
    setting: str = ""  # what else makes it differ from the method's main row
    why: str = ""


METHODS: Mapping[str, MethodRow] = {
    "CLIP": MethodRow(title=UNTOUCHED),
    "Base": MethodRow(title=UNTOUCHED),
    "FT-Clean": MethodRow(title="FT-Clean"),
    "FT-Adv": MethodRow(title="FT-Adv"),
    "TeCoA": MethodRow(title="TeCoA"),
    "CE": MethodRow(title="TeCoA"),  # UCAT's ablation: the numbers of its TeCoA row
    "CE only": MethodRow(title="TeCoA", setting="learning rate 1e-4"),  # Comp-TGA's script, both weights 0
    "FARE": MethodRow(title="FARE", fields=None),
    "LAAT": MethodRow(title="LAAT", fields=None),
    "PMG-AFT": MethodRow(title="PMG-AFT", fields=None),
    "TGA-ZSR": MethodRow(title="TGA-ZSR", fields=None),
    "TGA": MethodRow(title="TGA-ZSR", fields=None),
    "Vision-based": MethodRow(title="TGA-ZSR", fields={"attention": "visual"}),
    "Comp-TGA": MethodRow(title="Comp-TGA", fields=None),
    "CAW": MethodRow(title="CAW", fields=None),  # alpha and beta are nowhere public
    "AGFT": MethodRow(title="AGFT"),
    "UCAT": MethodRow(title="UCAT"),
    "CE+KL(Dir_clean||Dir_adv)": MethodRow(title="UCAT", fields={"direction": "clean_first"}),
    "CE+KLcat(p_clean||p_adv)": MethodRow(title="UCAT", fields=None, setting="categorical, clean first"),
    "CE+KLcat(p_adv||p_clean)": MethodRow(title="UCAT", fields=None, setting="categorical, adversarial first"),
    "TTC": MethodRow(title="TTC"),  # around the untouched model
    "GLADIATOR": MethodRow(title=None, fields=None, why="no public code, and no method of ours"),
    "TeCoA1": MethodRow(title="TeCoA", train_eps=1 / 255),
    "TeCoA2": MethodRow(title="TeCoA", train_eps=2 / 255),
    "TeCoA4": MethodRow(title="TeCoA", train_eps=4 / 255),
    "FARE1": MethodRow(title="FARE", train_eps=1 / 255),
    "FARE2": MethodRow(title="FARE", train_eps=2 / 255),
    "FARE4": MethodRow(title="FARE", train_eps=4 / 255),
}
# What the brackets after a method's name say: the model, a setting, or weights.
MODELS: Mapping[str, str] = {
    "ViT-B/16": "ViT-B/16", "CLIP-B/16": "ViT-B/16", "CLIP-B/32": "ViT-B/32", "SLIP-B/16": "SLIP ViT-B/16",
    "ViT-L/14": "ViT-L/14", "RN50x4": "RN50x4", "ViT-B/32": "ViT-B/32", "ViT-B/32-laion": "ViT-B/32 (LAION)",
    "ViT-B/16-laion": "ViT-B/16 (LAION)", "ConvNeXt-B": "ConvNeXt-B",
}  # fmt: skip
MODEL = "ViT-B/32"  # of every row that names none: OpenAI's
# (name, pretrained) as a configuration has them -> how the tables call the model.
OUR_MODELS: Mapping[tuple[str, str], str] = {
    ("ViT-B-32-quickgelu", "openai"): "ViT-B/32",
    ("ViT-B-16-quickgelu", "openai"): "ViT-B/16",
    ("ViT-L-14-quickgelu", "openai"): "ViT-L/14",
    ("RN50x4-quickgelu", "openai"): "RN50x4",
}
SETTINGS: tuple[str, ...] = (
    "class only", "class+other", "class+non-class", "CE+LARM", "CE+LARM+GACM", "no calibration", "calibrated",
    "original model", "target model",
)  # fmt: skip
FIELDS = ("alpha", "beta")  # weights that brackets give
INFERRED = "axes inferred"  # tables A7 and A8 print no axes: which weight is which is inferred from the numbers


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which of a method's weights stand behind some tables of a source."""

    source: str
    method: str  # as printed
    tables: tuple[str, ...]
    autoattack: bool  # behind the rows under AutoAttack, and the clean row beside them; or behind all others
    fields: Mapping[str, float]


# Comp-TGA, section V and table A6. IX, A4 and A5 agree with I and II where they meet; V and A3 do not say.
_MAIN, _OTHER = ("I", "II", "IV", "VI", "VII", "IX", "A4", "A5"), ("III", "VI", "A6")
CHECKPOINTS: tuple[Checkpoint, ...] = (
    Checkpoint(source="CompTGA-2026", method="TGA-ZSR", tables=_MAIN, autoattack=False,
               fields={"alpha": 0.08, "beta": 0.05}),
    Checkpoint(source="CompTGA-2026", method="TGA-ZSR", tables=_OTHER, autoattack=True,
               fields={"alpha": 0.08, "beta": 0.009}),
    Checkpoint(source="CompTGA-2026", method="Comp-TGA", tables=_MAIN, autoattack=False,
               fields={"alpha": 0.1, "beta": 0.1}),
    Checkpoint(source="CompTGA-2026", method="Comp-TGA", tables=_OTHER, autoattack=True,
               fields={"alpha": 0.1, "beta": 0.07}),
)  # fmt: skip
BESIDE_AUTOATTACK = ("A6",)  # tables whose clean rows are those of the weights that AutoAttack was run on

# "AutoAttack" is another list of attacks in each paper; the profile is what its code runs.
ATTACKS: Mapping[tuple[str, str], Known] = {
    ("CompTGA-2026", "PGD-100"): Known(ours="pgd100-tga"),
    ("CompTGA-2026", "PGD"): Known(ours=None, why="PGD on crops, its steps not stated"),
    ("CompTGA-2026", "CW"): Known(ours="cw100-tga"),
    ("CompTGA-2026", "AutoAttack"): Known(ours="aa-tecoa"),  # the paper says "standard"; its code APGD-CE + APGD-DLR
    ("CompTGA-2026", "APGD"): Known(ours=None, why="no code; neither loss nor iterations are stated"),
    ("CompTGA-2026", "Adaptive"): Known(ours=None, why="no code; neither temperature nor weights are stated"),
    ("CompTGA-2026", "adversarial"): Known(ours=None, why="the attack behind the attention maps is not stated"),
    ("UCAT-2026", "PGD-100"): Known(ours="pgd100-tga"),
    ("UCAT-2026", "CW-100"): Known(ours="cw100-tga"),
    ("UCAT-2026", "AutoAttack"): Known(ours="aa-tecoa"),
    ("FARE-2024", "APGD_CE+T-DLR_first2AA"): Known(ours="aa-fare"),
    ("FARE-2024", "adv_zeroshot"): Known(ours=None, why="the README does not name the attack of this table"),
    ("AGFT-2026", "PGD-20"): Known(ours="pgd20-agft"),
    ("AGFT-2026", "PGD"): Known(ours=None, why="its steps are not stated"),
    ("AGFT-2026", "AutoAttack"): Known(ours="aa-agft"),
    ("CAW-2025", "AutoAttack"): Known(ours="aa-tecoa"),  # as its baselines' rows, which are the TGA-ZSR paper's
}
MEAN_OF_ATTACKS = Known(ours=None, why="a mean over conditions; several attacks are counted per image here")
FIXED_STEP = ("PGD-100", "PGD-20")  # attacks whose step stays 1/255 whatever the budget, as printed
METRICS: Mapping[str, Known] = {
    "clean_acc": Known(ours="clean"),
    "robust_acc": Known(ours="robust"),
    "overall": Known(ours=None, why="a mean of clean and robust accuracies"),
    "H_clean_robust": Known(ours=None, why="the harmonic mean of two averages; ours is the average of harmonic means"),
    "H_F1@3": Known(ours=None, why="several labels an image"),
    "mAP": Known(ours=None, why="several labels an image"),
    "P@3": Known(ours=None, why="several labels an image"),
    "R@3": Known(ours=None, why="several labels an image"),
    "F1@3": Known(ours=None, why="several labels an image"),
    "soft_iou_fraction": Known(ours=None, why="overlap of attention and masks, a fraction"),
    "detect_robust_miou_fraction": Known(ours=None, why="detection by crops, a fraction"),
    "detect_clean_miou_fraction": Known(ours=None, why="detection by crops, a fraction"),
    "detect_mean_miou_fraction": Known(ours=None, why="detection by crops, a fraction"),
    "train_memory_MB": Known(ours=None, why="a cost, in MB"),
    "train_seconds_per_batch": Known(ours=None, why="a cost, in seconds"),
    "top5_IoU": Known(ours=None, why="overlap of the five likeliest classes"),
}
