"""Reproduces SLQ/MLQ (AAAI 2018) and neighbouring quantization methods as sweeps of traceable trials.

In Python and notebooks, `suite.load` gives the results of a sweep as a pandas frame and `suite.load_steps` what its trials
recorded while they ran. Both only read, at any moment of a sweep. docs/compare.ipynb shows them at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing suite imports nothing else, so that commands and compute nodes start quickly
    from os import PathLike

    import pandas as pd

    from suite.sweep import Sweep

__all__ = ["load", "load_steps"]


def load(sweep: str | PathLike[str] | Sweep, root: str | PathLike[str] = "results/runs") -> pd.DataFrame:
    """The results of a sweep: a row per trial that it plans, in the order of its file, whether the trial has run or not.

    Figures are NaN while a trial has no result, so means and pivots of a sweep that is half done are those of its finished
    trials; `frame[frame.state == "done"]` are these alone. Trials that the sweep does not name any more are left out.

    Of the trial:

    * `id`: name of its folder, `<root>/<sweep>/trials/<id>`
    * `label`: short name, what differs within a sweep first
    * `title`: its method's name in print
    * `as_published`: False for an ablation, which has no published figure
    * `state`: new, running, done, failed, lost, or unreadable
    * `network`, `data`: identifiers
    * `method`: identifier
    * `bits`: of an index; missing where the method has no such option
    * `seed`: trials of one configuration differ in it
    * `configuration`: every setting that decides the outcome, but no seeds, as JSON; the same for all trials of a table's row
    * `row`: the name of that row, such as "k-means, linear init"; with `bits` it stands for the configuration

    Accuracies in % of the test images:

    * `baseline_top1`, `baseline_top5`: of the trial's own full-precision baseline
    * `start_top1`: of the network that the method began from: the baseline, or its pruned form
    * `kept`: weights of that network that are not pruned, % of all that could be; 100 without pruning
    * `top1`, `top5`: of the quantized network
    * `error`: its top-1 error, 100 - top1
    * `delta`: top1 - baseline_top1, in points; positive is better

    Sizes, of the real file where nothing else is said:

    * `weights`: how many weights the quantized layers have
    * `live`: those of them that are not pruned
    * `nonzero`: those of them that are not 0
    * `full_bits`: the whole network at 32 bits a number
    * `file_bits`: the file, everything included
    * `ratio`: full_bits / file_bits
    * `index_bits`: indices of the live weights at a fixed width
    * `codebook_bits`: centres
    * `position_bits`: where the live weights are
    * `code_bits`: indices as the file has them
    * `side_bits`: all else of the quantized layers
    * `other_bits`: what is not quantized
    * `bits_per_weight`: of the quantized layers, as the file has them
    * `fixed_bits_per_weight`, `fixed_ratio`: with indices of a fixed width for every weight, no entropy coding
    * `ratio_deep_compression`: ratio as Han et al. 2016 count it
    * `ratio_choi`: ratio as Choi et al. 2017 count it
    * `entropy_bits`: indices at the entropy of their frequencies
    * `values`: distinct values of the layer that has the most; missing for a network without quantized layers
    * `coders`: bits of the indices under every coder that was tried, as JSON

    Cost and origin:

    * `wall_seconds`, `cpu_seconds`, `gpu_seconds`: over all attempts
    * `gpu_joules`, `cpu_joules`: what the counters of its GPU (NVML) and of all its machine's processors (RAPL) counted over all
      attempts, killed ones up to their last checkpoint, whoever else used them; missing if one of them could not be read
    * `attempts`: attempts so far
    * `dirty`: whether any attempt behind the result ran from uncommitted code
    * `commit`: the commits that they ran from
    * `warning`: why the folder cannot be read (damaged, or of a newer version of the suite), "" if it can

    All other columns are settings by their path in the sweep file, such as `method.partition`.

    Args:
        sweep: a sweep file, such as "jobs/quickstart.yaml", or what `suite.sweep.load_sweep` made of one.
        root: where the ledger lies.

    Raises:
        UserError: if there is no such sweep file, or it has a mistake.

    Warns:
        UserWarning: if a trial's folder cannot be read, or there is none of the sweep below `root`.
    """
    from suite.report.load import load_trials

    return load_trials(sweep, root)


def load_steps(sweep: str | PathLike[str] | Sweep, root: str | PathLike[str] = "results/runs") -> pd.DataFrame:
    """What the trials of a sweep recorded while they ran: a row per point, each trial's in the order of time.

    A point that a resumed attempt recorded again is there once. Trials that have recorded nothing yet have no row.
    For methods, widths and seeds: `steps.merge(suite.load(sweep), on="id", suffixes=("", "_final"))`.

    * `id`: of the trial
    * `attempt`: number of the attempt that recorded it
    * `time`: when, in UTC
    * `event`: train (means over the batches since the last such row), snap (after a stage has quantized its share), eval (after
      the re-training that follows), final (the finished network)
    * `stage`: the first is 1; missing at the final one
    * `step`: training steps since the method began, on one axis over all stages
    * `loss`: of the training batches for train, of the test images for all others
    * `accuracy`: of the training batches, %; for train only
    * `top1`, `top5`: of the test images, %; for all but train
    * `frozen`: weights that are fixed, % of the quantized layers' weights; for snap only
    * `lr`: learning rate; for train only

    Args:
        sweep: as for `suite.load`.
        root: as for `suite.load`.

    Raises:
        UserError: as `suite.load` does.

    Warns:
        UserWarning: as `suite.load` does; a trial that cannot be read has no rows.
    """
    from suite.report.load import load_points

    return load_points(sweep, root)
