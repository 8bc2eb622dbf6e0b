/* What stands between sparse products, on activations (pixels, channels, batch): batch normalisation with what follows it
 * (a residual, ReLU) in one pass, and the way there and back from other layouts. Threads share channels. */
#include "norm.h"

#define BLOCK 64 /* pixels whose sums are added up in float32; their totals are in float64 */
#define GROUP 32 /* channels whose sums are in the first cache */

/* x, y and residual are (pixels, channels, batch), with a distance between channels each; `residual`, `scale` and `bias`
 * may be NULL. Backward y is read only where there was a residual; else x tells where ReLU was zero. */
typedef struct {
    int64_t pixels, channels, batch, x_step, y_step, residual_step;
    const float *x, *y, *residual, *scale, *bias;
    float *mean, *inverse;
    int relu, training, added;
} Norm;

/* Channels first .. last - 1, at most GROUP. */
typedef struct {
    int64_t first, last;
} Group;

/* How many channels a thread takes at once: as many as there are for it, since they are neighbours in memory. */
INLINE int64_t size_of(int64_t channels, int threads)
{
    int64_t share = (channels + threads - 1) / threads;
    return share < GROUP ? share : GROUP;
}

INLINE int64_t groups(int64_t channels, int threads)
{
    int64_t size = size_of(channels, threads);
    return (channels + size - 1) / size;
}

INLINE Group group_of(int64_t channels, int threads, int64_t index)
{
    int64_t size = size_of(channels, threads), last = (index + 1) * size;
    return (Group){index * size, last < channels ? last : channels};
}

/* Where vector i of a batch begins: the last one may repeat entries of the one before, `fresh` says which are new. */
INLINE int64_t place_of(int64_t i, int64_t batch) { return (i + 1) * LANES > batch ? batch - LANES : i * LANES; }

INLINE vec fresh(int64_t batch)
{
    vec ones = all(1.0f);
    int64_t repeated = (LANES - batch % LANES) % LANES;
    for (int lane = 0; lane < LANES; lane++)
        if (lane < repeated) ones[lane] = 0.0f;
    return ones;
}

/* Sums of a part of one channel's batch: of d, and of d times e. */
typedef struct {
    vec sum[GROUP], product[GROUP];
    double sums[GROUP], products[GROUP];
} Sums;

INLINE void begin(Sums *s, int totals)
{
    for (int c = 0; c < GROUP; c++) {
        s->sum[c] = s->product[c] = all(0.0f);
        if (totals) s->sums[c] = s->products[c] = 0.0;
    }
}

INLINE void end_block(Sums *s)
{
    for (int c = 0; c < GROUP; c++) s->sums[c] += total(s->sum[c]), s->products[c] += total(s->product[c]);
    begin(s, 0);
}

/* Sums over batch and pixels of x - shift and its square. */
static void moments(const Norm *n, Group g, const float *shift, Sums *s)
{
    int64_t b = n->batch, vectors = (b + LANES - 1) / LANES;
    vec mask = fresh(b);
    begin(s, 1);
    for (int64_t q = 0; q < n->pixels; q++) {
        for (int64_t c = g.first; c < g.last; c++) {
            const float *x = n->x + (q * n->channels + c) * n->x_step;
            int64_t k = c - g.first;
            if (b < LANES) {
                for (int64_t i = 0; i < b; i++) {
                    double d = x[i] - shift[k];
                    s->sums[k] += d, s->products[k] += d * d;
                }
                continue;
            }
            vec sum = s->sum[k], square = s->product[k], offset = all(shift[k]);
            for (int64_t i = 0; i < vectors; i++) {
                vec d = load(x + place_of(i, b)) - offset;
                if (i == vectors - 1) d *= mask;
                sum += d, square += d * d;
            }
            s->sum[k] = sum, s->product[k] = square;
        }
        if (q % BLOCK == BLOCK - 1) end_block(s);
    }
    end_block(s);
}

/* Batch statistics: mean, and 1 / sqrt(variance + epsilon) in `inverse`; `variance` is the unbiased one. */
static void measure(const Norm *n, Group g, float epsilon, float *variance)
{
    double count = (double)n->pixels * n->batch;
    float near[GROUP] = {0}; /* numbers less this are of the size of their deviation */
    Sums s;
    for (int64_t c = g.first; c < g.last; c++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n->batch; i++) sum += n->x[c * n->x_step + i];
        near[c - g.first] = sum / n->batch;
    }
    moments(n, g, near, &s);
    for (int64_t c = g.first, k = 0; c < g.last; c++, k++)
        statistics(s.sums[k], s.products[k], count, near[k], epsilon, n->mean + c, n->inverse + c, variance + c);
}

/* y = scale (x - mean) + bias of a channel. */
typedef struct {
    float scale, mean, bias;
} Line;

INLINE Line line_of(const Norm *n, int64_t c)
{
    return (Line){n->inverse[c] * (n->scale ? n->scale[c] : 1.0f), n->mean[c], n->bias ? n->bias[c] : 0.0f};
}

INLINE vec on(Line l, vec x) { return l.scale * (x - l.mean) + l.bias; }

static void apply(const Norm *n, Group g, float *out)
{
    int64_t b = n->batch, vectors = (b + LANES - 1) / LANES;
    for (int64_t q = 0; q < n->pixels; q++)
        for (int64_t c = g.first; c < g.last; c++) {
            int64_t place = q * n->channels + c;
            const float *x = n->x + place * n->x_step, *more = n->residual ? n->residual + place * n->residual_step : 0;
            float *to = out + place * n->y_step;
            Line l = line_of(n, c);
            if (b < LANES) {
                for (int64_t i = 0; i < b; i++) {
                    float y = l.scale * (x[i] - l.mean) + l.bias + (more ? more[i] : 0.0f);
                    to[i] = n->relu && pattern(y) <= NEGATIVE_INFINITY ? 0.0f : y;
                }
                continue;
            }
            for (int64_t v = 0; v < vectors; v++) {
                int64_t i = place_of(v, b);
                vec y = on(l, load(x + i));
                if (more) y += load(more + i);
                store(to + i, n->relu ? relu(y) : y);
            }
        }
}

/* y's gradient through ReLU, at i of a channel. */
INLINE vec through(const Norm *n, Line l, vec d, const float *x, const float *y, int64_t i)
{
    if (!n->relu) return d;
    return relu_gradient(d, n->added ? load(y + i) : on(l, load(x + i)));
}

INLINE float through_one(const Norm *n, Line l, float d, float x, float y)
{
    int32_t p = pattern(n->added ? y : l.scale * (x - l.mean) + l.bias);
    return n->relu && (p <= NEGATIVE_INFINITY || !p) ? 0.0f : d;
}

/* Sums of y's gradient, through ReLU, and of its products with x - mean. */
static void correlations(const Norm *n, Group g, const float *dy, int64_t dy_step, Sums *s)
{
    int64_t b = n->batch, vectors = (b + LANES - 1) / LANES;
    vec mask = fresh(b);
    begin(s, 1);
    for (int64_t q = 0; q < n->pixels; q++) {
        for (int64_t c = g.first; c < g.last; c++) {
            int64_t place = q * n->channels + c, k = c - g.first;
            const float *x = n->x + place * n->x_step, *y = n->added ? n->y + place * n->y_step : 0, *from = dy + place * dy_step;
            Line l = line_of(n, c);
            if (b < LANES) {
                for (int64_t i = 0; i < b; i++) {
                    double d = through_one(n, l, from[i], x[i], n->added ? y[i] : 0.0f);
                    s->sums[k] += d, s->products[k] += d * (x[i] - l.mean);
                }
                continue;
            }
            vec sum = s->sum[k], product = s->product[k];
            for (int64_t v = 0; v < vectors; v++) {
                int64_t i = place_of(v, b);
                vec d = through(n, l, load(from + i), x, y, i);
                if (v == vectors - 1) d *= mask;
                sum += d, product += d * (load(x + i) - l.mean);
            }
            s->sum[k] = sum, s->product[k] = product;
        }
        if (q % BLOCK == BLOCK - 1) end_block(s);
    }
    end_block(s);
}

/* What the backward pass writes, each as far apart as y is; NULL where it is not wanted. */
typedef struct {
    float *dx, *dresidual, *dscale, *dbias;
    int64_t step;
} Gradients;

static void back(const Norm *n, Group g, const float *dy, int64_t dy_step, const Gradients *to)
{
    int64_t b = n->batch, vectors = (b + LANES - 1) / LANES;
    double count = (double)n->pixels * b;
    Slope to_x[GROUP];
    Sums sums;
    correlations(n, g, dy, dy_step, &sums);
    for (int64_t c = g.first, k = 0; c < g.last; c++, k++) {
        float inverse = n->inverse[c];
        if (to->dbias) to->dbias[c] = sums.sums[k];
        if (to->dscale) to->dscale[c] = sums.products[k] * inverse;
        to_x[k] = slope_of(sums.sums[k], sums.products[k], count, inverse, n->scale ? n->scale[c] : 1.0f, n->training);
    }
    if (!to->dx && !to->dresidual) return;
    for (int64_t q = 0; q < n->pixels; q++)
        for (int64_t c = g.first, k = 0; c < g.last; c++, k++) {
            int64_t place = q * n->channels + c;
            const float *x = n->x + place * n->x_step, *y = n->added ? n->y + place * n->y_step : 0, *from = dy + place * dy_step;
            float *dx = to->dx ? to->dx + place * to->step : 0, *more = to->dresidual ? to->dresidual + place * to->step : 0;
            Line l = line_of(n, c);
            Slope s = to_x[k];
            if (b < LANES) {
                for (int64_t i = 0; i < b; i++) {
                    float d = through_one(n, l, from[i], x[i], n->added ? y[i] : 0.0f);
                    if (dx) dx[i] = s.factor * d - s.slope * (x[i] - l.mean) - s.level;
                    if (more) more[i] = d;
                }
                continue;
            }
            for (int64_t v = 0; v < vectors; v++) {
                int64_t i = place_of(v, b);
                vec d = through(n, l, load(from + i), x, y, i);
                if (dx) store(dx + i, s.factor * d - s.slope * (load(x + i) - l.mean) - s.level);
                if (more) store(more + i, d);
            }
        }
}

/* y = relu(norm(x) + residual). With n->training by the batch's statistics, which are written to mean, inverse and
 * variance; else by those. */
void norm_forward(const Norm *n, float epsilon, float *variance, float *y, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < groups(n->channels, threads); index++) {
        Group g = group_of(n->channels, threads, index);
        if (n->training) measure(n, g, epsilon, variance);
        apply(n, g, y);
    }
}

/* The gradients of x, residual, scale and bias from that of y. */
void norm_backward(const Norm *n, const float *dy, int64_t dy_step, const Gradients *to, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < groups(n->channels, threads); index++) 
        back(n, group_of(n->channels, threads, index), dy, dy_step, to);
}

/* The sum of each channel: the gradient of a bias. */
void sum_channels(const float *x, float *sums, int64_t pixels, int64_t channels, int64_t batch, int64_t step, int threads)
{
    Norm n = {.pixels = pixels, .channels = channels, .batch = batch, .x = x, .x_step = step};
    const float none[GROUP] = {0};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < groups(channels, threads); index++) {
        Group g = group_of(channels, threads, index);
        Sums s;
        moments(&n, g, none, &s);
        for (int64_t c = g.first; c < g.last; c++) sums[c] = s.sums[c - g.first];
    }
}

/* `count` matrices (rows, columns) -> (columns, rows), with the distances between rows before and after, and between
 * matrices. */
void transpose(const float *from, float *to, int64_t count, int64_t rows, int64_t columns, int64_t from_row, int64_t to_row,
               int64_t from_next, int64_t to_next, int threads)
{
    int64_t blocks = (columns + LANES - 1) / LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t job = 0; job < count * blocks; job++) {
        const float *source = from + job / blocks * from_next;
        float *target = to + job / blocks * to_next;
        int64_t c0 = job % blocks * LANES, c1 = c0 + LANES < columns ? c0 + LANES : columns;
        for (int64_t r0 = 0; r0 < rows; r0 += LANES) {
            int64_t r1 = r0 + LANES < rows ? r0 + LANES : rows;
            if (r1 - r0 == LANES && c1 - c0 == LANES) {
                vec block[LANES];
                for (int i = 0; i < LANES; i++) block[i] = load(source + (r0 + i) * from_row + c0);
                turn(block);
                for (int i = 0; i < LANES; i++) store(target + (c0 + i) * to_row + r0, block[i]);
            } else
                for (int64_t c = c0; c < c1; c++)
                    for (int64_t r = r0; r < r1; r++) target[c * to_row + r] = source[r * from_row + c];
        }
    }
}
