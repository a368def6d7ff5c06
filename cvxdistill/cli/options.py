"""Options of the verbs, each written once."""

from pathlib import Path
from typing import Annotated

import typer

from cvxdistill.choose import CHOOSERS
from cvxdistill.codecs import CODECS
from cvxdistill.export import EXPORTERS, IMPORTERS
from cvxdistill.methods import METHODS
from cvxdistill.students import AUGMENTATIONS, OPTIMISERS

Target = Annotated[
    str,
    typer.Option(help="Target data set: a name, or KIND:PATH as in folder:PATH or parquet:PATH."),
]
Base = Annotated[
    str | None, typer.Option(help="Data set of the base examples; the target's if unset.")
]
BaseFit = Annotated[
    str | None,
    typer.Option(help="Make base images fit the target's: resize or pad; refuse others if unset."),
]
DataRoot = Annotated[
    str | None, typer.Option("--data-root", help="Folder with the files of named data sets.")
]
Download = Annotated[bool, typer.Option("--download", help="Fetch missing files with torchvision.")]
Examples = Annotated[
    int | None, typer.Option(help="Number of base examples; two a class if unset.")
]
Choose = Annotated[
    str,
    typer.Option(help=f"How base examples are chosen: {', '.join(CHOOSERS)}; with options."),
]
Indices = Annotated[
    str | None, typer.Option(help="Base examples themselves: a comma list, or a file of numbers.")
]
Method = Annotated[
    str, typer.Option(help=f"{', '.join(METHODS)}; options as in exact:loss=cross_entropy.")
]
Methods = Annotated[
    str, typer.Option(help="Methods separated by ';', with options as in smoothed:smoothing=0.3.")
]
Student = Annotated[
    str | None,
    typer.Option(help="Network that methods train from scratch; by image size if unset."),
]
LabelCodec = Annotated[
    str, typer.Option(help=f"How labels are stored: {', '.join(CODECS)}; as in topk:k=2.")
]
Codec = Annotated[
    str | None, typer.Option(help="Codecs to try, with ';' between; a selection if unset.")
]
LabelBits = Annotated[
    float | None, typer.Option("--bits", help="Budget: bits an entry of the labels.")
]
LabelBytes = Annotated[
    float | None, typer.Option("--bytes", help="Budget: bytes of all labels together.")
]
MaxLoss = Annotated[
    float, typer.Option(help="Without a budget: accuracy that the fewest bits may lose.")
]
Feedback = Annotated[bool, typer.Option(help="Try codecs with rounding errors fed back, too.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on from the checkpoint of a run that was interrupted or out of budget."
    ),
]
CheckpointEvery = Annotated[
    float, typer.Option(help="Seconds between checkpoints of a method that takes steps.")
]
Budget = Annotated[
    float | None, typer.Option(help="Seconds in all after which a method takes no further step.")
]
Extractors = Annotated[
    str,
    typer.Option(
        "--extractor", help="Network of the extractors: convnet:width=64, torchvision:resnet18, ..."
    ),
]
Pool = Annotated[int, typer.Option(help="Number of extractors.")]
TrainSteps = Annotated[
    int, typer.Option(help="Train each extractor on the target for so many steps; 0: as drawn.")
]
ExtractorWeights = Annotated[
    Path | None, typer.Option(help="A saved extractor, in the place of drawn ones.")
]
Zca = Annotated[bool, typer.Option("--zca", help="Whiten images (natural colour images).")]
Head = Annotated[
    str, typer.Option(help="Head to solve for: ridge, kernel-ridge, logistic or svm, with options.")
]
L2 = Annotated[float | None, typer.Option(help="Penalty of the head; its own default if unset.")]
L2Scale = Annotated[
    str | None, typer.Option(help="Scale of the penalty: trace or absolute; the head's if unset.")
]
Intercept = Annotated[
    str | None, typer.Option(help="Intercept: free, penalised or none; the head's if unset.")
]
TargetL2 = Annotated[
    float | None, typer.Option(min=0, help="Penalty in the label objective; the head's if unset.")
]
Validation = Annotated[
    str | None, typer.Option(help="Validation part of the training split: a count or a share.")
]
TestFraction = Annotated[
    float | None, typer.Option(help="Test part, where the data set has no test split.")
]
Limit = Annotated[
    int | None, typer.Option(help="Keep at most so many training examples of the target.")
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the division into parts.")]
Seed = Annotated[int, typer.Option(help="Seed of base, extractors and students.")]
Students = Annotated[
    str | None,
    typer.Option(help="Networks to train, separated by ';', or none; the run's own if unset."),
]
Seeds = Annotated[int, typer.Option(help="Repetitions: students, extractors.")]
Steps = Annotated[
    str, typer.Option(help="Training steps that validation chooses among, such as 50,100,200.")
]
Augment = Annotated[
    str,
    typer.Option(
        help=f"What students see of images, unless the labels say so: {', '.join(AUGMENTATIONS)}."
    ),
]
Optimisers = Annotated[
    str | None,
    typer.Option(help=f"Train students by these too, with commas: {', '.join(OPTIMISERS)}."),
]
StepFactors = Annotated[
    str | None,
    typer.Option(help="Train students for these multiples of the chosen steps too: 0.25,0.5,2,4."),
]
Unseen = Annotated[
    str | None, typer.Option(help="Network of the unseen extractors; the artefact's own if unset.")
]
CurveSeeds = Annotated[
    int, typer.Option(help="Students trained on each label set kept along the way.")
]
Reference = Annotated[
    str | None,
    typer.Option(help="Method that the others are timed to; online-ridge if unset and there."),
]
Grace = Annotated[
    float, typer.Option(help="Seconds beyond the budget after which a method is ended.")
]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Run methods in this process, not in one each.")
]
SkipFull = Annotated[bool, typer.Option("--skip-full", help="Leave the full data out.")]
EmbedExtractor = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="torchvision:NAME[@LAYER], timm:NAME, module:PACKAGE.ATTRIBUTE, text:MODEL, or a "
        "network such as convnet:width=64; with options, as in ,weights=none,seed=0.",
    ),
]
EmbedSplit = Annotated[
    str | None,
    typer.Option("--split", help="train, validation, test or all; the first there is if unset."),
]
Shards = Annotated[Path, typer.Option("--out", help="Folder of the shards.")]
Storage = Annotated[str, typer.Option("--format", help="npy, safetensors or parquet.")]
FeatureType = Annotated[
    str, typer.Option("--dtype", help="float32, float16, or bfloat16 (safetensors).")
]
ShardRows = Annotated[int, typer.Option(help="Examples in a shard.")]
BatchSize = Annotated[
    int | None, typer.Option(help="Examples at once; what is quick on the device if unset.")
]
Metadata = Annotated[
    bool,
    typer.Option("--metadata/--no-metadata", help="Keep index, hash and source of examples."),
]
TextColumn = Annotated[str | None, typer.Option(help="Column of texts; a usual name if unset.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the classes of texts, if any.")]
Embeddings = Annotated[
    list[str], typer.Argument(help="Sets of embeddings: KIND:PATH, or an existing path.")
]
Features = Annotated[
    str | None, typer.Option(help="Name of the array or column of features; guessed if unset.")
]
Labels = Annotated[str | None, typer.Option(help="The same for labels.")]
Weights = Annotated[str | None, typer.Option(help="The same for weights of examples.")]
ClassWeight = Annotated[
    str, typer.Option(help="none, or balanced: a row of class c weighs n / (C n_c).")
]
Slice = Annotated[
    str | None,
    typer.Option("--slice", help="Take one of N equal parts of the rows: K/N, from 1/N to N/N."),
]
AddTo = Annotated[
    Path | None, typer.Option(help="Add to the moments of this file; --out if that is unset.")
]
Moments = Annotated[Path, typer.Argument(help="File of moments that `stats` wrote.")]
BaseEmbeddings = Annotated[
    str, typer.Option("--base", help="Embeddings that base examples are chosen from.")
]
Chosen = Annotated[
    int | None, typer.Option("--examples", help="Number of base examples; all if unset.")
]
TestEmbeddings = Annotated[
    str | None, typer.Option("--test", help="Embeddings to test the labels on, if any.")
]
MomentFiles = Annotated[list[Path], typer.Argument(help="Files of moments.")]
MomentsOut = Annotated[Path | None, typer.Option("--out", help="File of moments to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; named after it if unset.")]
NewRun = Annotated[Path, typer.Option("--out", help="Folder of the run that is written.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Run = Annotated[Path, typer.Argument(help="Folder that `distill` wrote.")]
OptionalRun = Annotated[
    Path | None, typer.Argument(help="Folder that `distill` wrote, or a file of moments.")
]
ExportTo = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(EXPORTERS)}, with options as in hub:license=mit."),
]
ExportOut = Annotated[
    Path, typer.Option("--out", help="File or new folder; its ending tells the format.")
]
ImportPath = Annotated[Path, typer.Argument(help="File or folder that holds the distilled set.")]
ImportFrom = Annotated[
    str | None, typer.Option("--from", help=f"{', '.join(IMPORTERS)}; recognised if unset.")
]
ImportTarget = Annotated[
    str | None, typer.Option("--target", help="Data set that a label JSON's labels are for.")
]
AuthorsSeed = Annotated[
    int | None, typer.Option(help="random_seed of the experiment of a label JSON; 1234 if unset.")
]
