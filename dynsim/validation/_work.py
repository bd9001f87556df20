"""Independent pieces of work, spread over the cores."""

from joblib import Parallel, cpu_count, delayed, parallel_config


def in_parallel(function, tasks, progress=None):
    """function(*task) for every task, in worker processes of one thread each: results in the order of the tasks.

    One thread, because the pieces are small: BLAS threads that wait for each other cost more than they bring."""
    workers = min(cpu_count(), len(tasks))
    results = []
    with parallel_config(backend="loky" if workers > 1 else "sequential", inner_max_num_threads=1 if workers > 1 else None):
        for result in Parallel(n_jobs=workers, return_as="generator")(delayed(function)(*task) for task in tasks):
            results.append(result)
            if progress is not None:
                progress(len(results), len(tasks))
    return results
