/* Products with sparse weights, forward and backward, of Linear and Conv2d alike: a Linear is a conv on one pixel.
 *
 * Activations are (pixels, channels, batch), the batch innermost, at a distance of `step` from one channel to the next: a
 * multiple of LANES, where it can be, since a load over two lines of the cache takes twice as long. A tile of some pixels and up to 8 vectors of the batch
 * stays in registers while a neuron's active weights pass by, each of them broadcast: one load and one multiply-add a
 * vector, and one store at the end (accumulating in memory is what makes sparse kernels slow). Pixels are outside and
 * neurons inside, so that a pixel's neighbourhood stays in the second cache; what the next tile needs is fetched meanwhile.
 *
 * Every sum is taken in the same order whatever the number of threads. */
#include "vectors.h"

#define WIDE 8 /* vectors of the batch in a tile */
#define MOST 4 /* pixels in a tile */
#define LINE 64

/* Where the active weights of a layer are, and on which pixels of x they act.
 *
 * An active weight belongs to a neuron (row), a tap (place in the kernel) and a channel of x; they are sorted in this
 * order. `starts` has the first one of each row and tap; `offsets` the position (pixel * channels + channel) that it reads
 * relative to the `base` of the pixel that is written, `place`; `order`, which may be NULL, where
 * its value is. Pixels of a class have the same taps inside the image: the
 * class's `runs` of taps, pairs (first, last + 1), from `first_run[class]` on.
 *
 * A Linear layer with many inputs has blocks of them in place of taps and, in place of pixels, the same one for each
 * block: with `blocks`, those after the first add to what is written. `ahead`: offset of what a pixel is the first
 * to read, `channels` positions. */
typedef struct {
    int64_t rows, taps, pixels, channels, positions, ahead, blocks;
    const int32_t *starts, *offsets, *order, *base, *place, *class, *first_run, *runs;
} Plan;

/* One call's arguments, and a thread's share of rows and weights. */
typedef struct {
    const float *x, *values, *bias, *dy;
    float *y, *dvalues;
    int64_t batch, x_step, y_step, first_row, last_row, first, last;
} Job;

/* Which pixels (indices of `base`) and which part of the batch: T vectors, of which the last begins at `tail` and repeats
 * `overlap` entries of the one before. `soon`: what to fetch meanwhile, `each` bytes of it for a row. */
typedef struct {
    int64_t pixel[MOST];
    int64_t at, tail, overlap, each;
    const char *soon[MOST];
    int class, fetches, adds;
} Tile;

INLINE void fetch(const Tile *t, int64_t row)
{
    for (int i = 0; i < t->fetches; i++)
        for (int64_t byte = 0; byte < t->each; byte += LINE) __builtin_prefetch(t->soon[i] + row * t->each + byte, 0, 2);
}

/* Where a tile's pixel of a row is written. */
INLINE float *place(const Plan *p, const Job *job, const Tile *t, int i, int64_t row)
{
    return job->y + (p->place[t->pixel[i]] * p->rows + row) * job->y_step + t->at;
}

INLINE void weigh(const Plan *p, const Job *job, const Tile *t, const int P, const int T)
{
    const float *x[MOST];
    for (int i = 0; i < P; i++) x[i] = job->x + p->base[t->pixel[i]] * job->x_step + t->at;
    const int32_t *run = p->runs + 2 * p->first_run[t->class], *end = p->runs + 2 * p->first_run[t->class + 1];
    for (int64_t row = job->first_row; row < job->last_row; row++) {
        fetch(t, row - job->first_row);
        vec sum[MOST][WIDE];
        vec bias = all(job->bias ? job->bias[row] : 0.0f);
        for (int i = 0; i < P; i++)
            for (int j = 0; j < T; j++) sum[i][j] = bias;
        if (P == 1 && t->adds)
            for (int j = 0; j < T; j++) sum[0][j] = load(place(p, job, t, 0, row) + (j < T - 1 ? LANES * j : t->tail));
        const int32_t *starts = p->starts + row * p->taps;
        for (const int32_t *taps = run; taps < end; taps += 2)
            for (int64_t k = starts[taps[0]], stop = starts[taps[1]]; k < stop; k++) {
                int64_t offset = p->offsets[k] * job->x_step;
                vec weight = all(job->values[p->order ? p->order[k] : k]);
                for (int i = 0; i < P; i++) {
                    const float *from = x[i] + offset;
                    for (int j = 0; j < T - 1; j++) sum[i][j] += weight * load(from + LANES * j);
                    sum[i][T - 1] += weight * load(from + t->tail);
                }
            }
        for (int i = 0; i < P; i++) {
            float *y = place(p, job, t, i, row);
            for (int j = 0; j < T; j++) store(y + (j < T - 1 ? LANES * j : t->tail), sum[i][j]);
        }
    }
}

/* Four vectors of up to four weights' products each, still to be added up. */
typedef struct {
    vec part[4];
    int64_t first[4];
    int size[4], count;
} Pending;

INLINE void settle(Pending *pending, float *dvalues)
{
    float sums[16];
    for (int i = pending->count; i < 4; i++) pending->part[i] = all(0.0f);
#if LANES == 16
    store(sums, fold(fold(pending->part[0], pending->part[1]), fold(pending->part[2], pending->part[3])));
#elif LANES == 8
    for (int i = 0; i < 2; i++) store(sums + 8 * i, fold(pending->part[2 * i], pending->part[2 * i + 1]));
#else
    for (int i = 0; i < 4; i++) store(sums + 4 * i, pending->part[i]);
#endif
    for (int i = 0; i < pending->count; i++)
        for (int k = 0; k < pending->size[i]; k++) dvalues[pending->first[i] + k] += sums[4 * i + k];
    pending->count = 0;
}

INLINE vec product(const Job *job, const float *const *x, vec dy[MOST][WIDE], const Tile *t, int64_t offset, const int P,
                   const int T)
{
    vec even = all(0.0f), odd = all(0.0f); /* two chains, since each addition waits for the one before */
    for (int i = 0; i < P; i++)
        for (int j = 0; j < T; j++) {
            vec part = dy[i][j] * load(x[i] + offset * job->x_step + (j < T - 1 ? LANES * j : t->tail));
            if ((i * T + j) % 2) odd += part;
            else even += part;
        }
    return even + odd;
}

INLINE void correlate(const Plan *p, const Job *job, const Tile *t, Pending *pending, const int P, const int T)
{
    const float *x[MOST];
    for (int i = 0; i < P; i++) x[i] = job->x + p->base[t->pixel[i]] * job->x_step + t->at;
    const int32_t *run = p->runs + 2 * p->first_run[t->class], *end = p->runs + 2 * p->first_run[t->class + 1];
    for (int64_t row = job->first_row; row < job->last_row; row++) {
        fetch(t, row - job->first_row);
        vec dy[MOST][WIDE];
        for (int i = 0; i < P; i++) {
            const float *from = job->dy + (p->place[t->pixel[i]] * p->rows + row) * job->y_step + t->at;
            for (int j = 0; j < T; j++) dy[i][j] = load(from + (j < T - 1 ? LANES * j : t->tail));
            for (int lane = 0; lane < LANES; lane++)
                if (lane < t->overlap) dy[i][T - 1][lane] = 0.0f;
        }
        const int32_t *starts = p->starts + row * p->taps;
        for (const int32_t *taps = run; taps < end; taps += 2) {
            int64_t k = starts[taps[0]], stop = starts[taps[1]];
            if (k < job->first) k = job->first;
            if (stop > job->last) stop = job->last;
            for (; k < stop; k += 4) {
                int size = stop - k < 4 ? stop - k : 4, slot = pending->count++;
                vec part[4];
                for (int m = 0; m < 4; m++)
                    part[m] = m < size ? product(job, x, dy, t, p->offsets[k + m], P, T) : all(0.0f);
                pending->part[slot] = fold(fold(part[0], part[1]), fold(part[2], part[3]));
                pending->first[slot] = k;
                pending->size[slot] = size;
                if (slot == 3) settle(pending, job->dvalues);
            }
        }
    }
}

#define SIZES(P, CODE) \
    CODE(P, 1) CODE(P, 2) CODE(P, 3) CODE(P, 4) CODE(P, 5) CODE(P, 6) CODE(P, 7) CODE(P, 8)
#define WEIGH(P, T) case 16 * P + T: if (P * T <= HELD) weigh(p, job, t, P, T); break;
#define CORRELATE(P, T) case 16 * P + T: if (P * T <= HELD) correlate(p, job, t, pending, P, T); break;

static void one_tile(const Plan *p, const Job *job, const Tile *t, Pending *pending, int pixels, int vectors)
{
    if (pending)
        switch (16 * pixels + vectors) { SIZES(1, CORRELATE) SIZES(2, CORRELATE) SIZES(4, CORRELATE) }
    else
        switch (16 * pixels + vectors) { SIZES(1, WEIGH) SIZES(2, WEIGH) SIZES(4, WEIGH) }
}

/* All tiles of pixels first .. last - 1 and of the batch's entries from `at` on, `size` of them. */
static void sweep(const Plan *p, const Job *job, Pending *pending, int64_t first, int64_t last, int64_t at, int64_t size)
{
    int vectors = (size + LANES - 1) / LANES;
    int most = 4 * vectors <= HELD ? 4 : 2 * vectors <= HELD ? 2 : 1;
    Tile t = {.at = at, .tail = size - LANES, .overlap = vectors * LANES - size};
    t.each = (p->channels * job->x_step * 4 / p->rows + LINE - 1) / LINE * LINE;
    for (int64_t q = first; q < last;) {
        int pixels = 0;
        t.class = p->class[q];
        while (pixels < most && q < last && p->class[q] == t.class) t.pixel[pixels++] = q++;
        if (pixels == 3) pixels = 2, q--;
        t.adds = p->blocks && t.pixel[0] > 0;
        t.fetches = 0;
        for (int64_t next = q; p->pixels > 1 && !p->blocks && next < last && t.fetches < pixels; next++) {
            int64_t position = p->base[next] + p->ahead;
            if (position < 0 || position + p->channels > p->positions) break;
            t.soon[t.fetches++] = (const char *)(job->x + position * job->x_step);
        }
        one_tile(p, job, &t, pending, pixels, vectors);
    }
}

/* Sum of values[k] x[offsets[k]]. Four at a time: processors gather no faster than by single loads. */
INLINE float gathered(const float *values, const float *x, const int32_t *offsets, int64_t count)
{
    few4 even = {0}, odd = {0};
    int64_t k = 0;
    for (; k + 8 <= count; k += 8) {
        const int32_t *o = offsets + k;
        even += *(const loose4 *)(values + k) * (few4){x[o[0]], x[o[1]], x[o[2]], x[o[3]]};
        odd += *(const loose4 *)(values + k + 4) * (few4){x[o[4]], x[o[5]], x[o[6]], x[o[7]]};
    }
    even += odd;
    float sum = even[0] + even[1] + even[2] + even[3];
    for (; k < count; k++) sum += values[k] * x[offsets[k]];
    return sum;
}

/* Batches of less than a vector. */
static void few(const Plan *p, const Job *job, int gradient)
{
    int64_t n = job->batch, step = job->x_step;
    for (int64_t q = 0; q < p->pixels; q++) {
        const float *x = job->x + p->base[q] * step;
        const int32_t *run = p->runs + 2 * p->first_run[p->class[q]], *end = p->runs + 2 * p->first_run[p->class[q] + 1];
        for (int64_t row = job->first_row; row < job->last_row; row++) {
            int64_t written = (p->place[q] * p->rows + row) * job->y_step;
            const int32_t *starts = p->starts + row * p->taps;
            float sum[LANES] = {0};
            for (const int32_t *taps = run; taps < end; taps += 2) {
                int64_t k = starts[taps[0]], stop = starts[taps[1]];
                if (gradient) {
                    if (k < job->first) k = job->first;
                    if (stop > job->last) stop = job->last;
                    for (; k < stop; k++)
                        for (int64_t i = 0; i < n; i++)
                            job->dvalues[k] += job->dy[written + i] * x[p->offsets[k] * step + i];
                } else if (n == 1 && step == 1 && !p->order) {
                    sum[0] += gathered(job->values + k, x, p->offsets + k, stop - k);
                } else
                    for (; k < stop; k++)
                        for (int64_t i = 0; i < n; i++) sum[i] += job->values[p->order ? p->order[k] : k] * x[p->offsets[k] * step + i];
            }
            for (int64_t i = 0; !gradient && i < n; i++) {
                float before = p->blocks && q > 0 ? job->y[written + i] : job->bias ? job->bias[row] : 0.0f;
                job->y[written + i] = before + sum[i];
            }
        }
    }
}

/* The batch in parts of up to WIDE vectors, as even as may be: how many, and where one begins. */
INLINE int64_t parts(int64_t batch) { return (batch + WIDE * LANES - 1) / (WIDE * LANES); }

INLINE int64_t part(int64_t batch, int64_t index)
{
    int64_t at = (batch + LANES - 1) / LANES * index / parts(batch) * LANES;
    return at < batch ? at : batch;
}

/* The first row for which an amount of work, by weights and rows before it, is reached. */
INLINE int64_t row_at(const Plan *p, double work, double a_row)
{
    int64_t low = 0, high = p->rows;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (p->starts[middle * p->taps] + a_row * middle < work) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void run(const Plan *p, const Job *job, Pending *pending, int64_t first, int64_t last)
{
    for (int64_t index = 0; index < parts(job->batch); index++) {
        int64_t at = part(job->batch, index);
        sweep(p, job, pending, first, last, at, part(job->batch, index + 1) - at);
    }
}

/* y = W x + bias: x (positions, batch) -> y (pixels, rows, batch). For the gradient of x, with the plan of W^T. */
void sparse_product(const Plan *p, const float *x, const float *values, const float *bias, float *y, int64_t batch,
                    int64_t x_step, int64_t y_step, int threads)
{
    int by_rows = batch < LANES || p->blocks || parts(batch) * p->pixels < 4 * threads;
    double work = p->starts[p->rows * p->taps] + 4.0 * p->rows;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        Job job = {.x = x, .values = values, .bias = bias, .y = y, .batch = batch, .last_row = p->rows};
        job.x_step = x_step, job.y_step = y_step;
        if (by_rows) {
            job.first_row = i ? row_at(p, work * i / threads, 4.0) : 0;
            job.last_row = i + 1 < threads ? row_at(p, work * (i + 1) / threads, 4.0) : p->rows;
        }
        if (batch < LANES) few(p, &job, 0);
        else if (by_rows) run(p, &job, 0, 0, p->pixels);
        else run(p, &job, 0, p->pixels * i / threads, p->pixels * (i + 1) / threads);
    }
}

/* The gradient of the active weights, from x and the gradient of y. */
void sparse_gradient(const Plan *p, const float *x, const float *dy, float *dvalues, int64_t batch,
                     int64_t x_step, int64_t y_step, int threads)
{
    int64_t count = p->starts[p->rows * p->taps];
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        Job job = {.x = x, .dy = dy, .dvalues = dvalues, .batch = batch};
        job.x_step = x_step, job.y_step = y_step;
        job.first = count * i / threads, job.last = count * (i + 1) / threads;
        if (job.first == job.last) continue;
        memset(dvalues + job.first, 0, sizeof(float) * (job.last - job.first));
        job.first_row = row_at(p, job.first + 1.0, 0.0) - 1; /* the rows that hold these weights */
        job.last_row = row_at(p, job.last, 0.0);
        Pending pending = {.count = 0};
        if (batch < LANES) few(p, &job, 1);
        else run(p, &job, &pending, 0, p->pixels);
        settle(&pending, dvalues);
    }
}
