/* Batch normalisation with what follows it (a residual, ReLU) in one pass, on images with channels last: (rows, channels),
 * a row for each pixel of each image. Numbers in memory are float32 or bfloat16, arithmetic is float32.
 *
 * As many rows as fill vectors evenly count as one: a wide row of `width` numbers, a multiple of a STRIP, in which what
 * belongs to a channel is repeated. What is left at the end is taken a pair of vectors at a time, the last one in part.
 * Sums are taken over PARTS parts, whatever the number of threads, so that their order never changes. */
#include "norm.h"

#define PAIR (2 * LANES) /* numbers that are computed with together */
#define STRIP 2          /* pairs that stay in registers over a block */
#define BLOCK 64         /* wide rows whose sums are added up in float32; their totals are in float64 */
#define PARTS 16
#define FIRST 16 /* rows whose mean tells about where numbers are */

/* `residual`, `scale` and `bias` may be NULL. Backward y is read only where there was a residual; else x tells where ReLU
 * was zero. statistics (3, channels): mean, 1 / deviation, unbiased variance. Scratch: lines (LINES, width), sums (PARTS,
 * 2, width). */
typedef struct {
    int64_t rows, channels, width;
    const void *x, *y, *residual, *dy;
    const float *scale, *bias;
    float *statistics, *lines;
    double *sums;
    int relu, training, half;
} Rows;

enum { MEAN, INVERSE, VARIANCE };

/* norm(x) = gain (x - center) + shift, dx = gain dy - slope (x - center) - level. */
enum { CENTER, GAIN, SHIFT, SLOPE, LEVEL, LINES };

INLINE float *statistic(const Rows *r, int which, int64_t channel) { return r->statistics + which * r->channels + channel; }

/* A pair of vectors: of bfloat16 numbers the even and the odd ones, which then need no shuffle; see `column`. */
typedef struct {
    vec a, b;
} Pair;

INLINE Pair load_pair(const float *at) { return (Pair){load(at), load(at + LANES)}; }

/* Where the scratch has what belongs to number i of a wide row: each pair in the order of its vectors. */
INLINE int64_t column(const int half, int64_t i)
{
    return half ? i / PAIR * PAIR + i % 2 * LANES + i % PAIR / 2 : i;
}

/* Bit patterns of two bfloat16 numbers each, and their distance to what rounds to the nearest, of two to the even one. */
typedef int32_t loose_bits __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
INLINE bits rounded(vec x) { return (bits)x + 0x7fff + ((bits)x >> 16 & 1); }

/* The first `count` of a pair of numbers from `at` on; the others are zero. */
INLINE Pair get(const int half, const void *from, int64_t at, const int count)
{
    int size = half ? 2 : 4;
    const char *place = (const char *)from + at * size;
    float some[PAIR] = {0};
    if (count < PAIR) place = memcpy(some, place, count * size);
    if (!half) return load_pair((const float *)place);
    bits both = *(const loose_bits *)place;
    return (Pair){(vec)(both << 16), (vec)(both & -0x10000)};
}

INLINE void put(const int half, void *to, int64_t at, const int count, Pair y)
{
    int size = half ? 2 : 4;
    float some[PAIR];
    char *place = (char *)to + at * size, *written = count < PAIR ? (char *)some : place;
    if (half) *(loose_bits *)written = (rounded(y.a) >> 16 & 0xffff) | (rounded(y.b) & -0x10000);
    else store((float *)written, y.a), store((float *)written + LANES, y.b);
    if (count < PAIR) memcpy(place, some, count * size);
}

INLINE int64_t numbers(const Rows *r) { return r->rows * r->channels; }
INLINE int64_t wide_rows(const Rows *r) { return numbers(r) / r->width; }
INLINE int64_t part(const Rows *r, int index) { return wide_rows(r) * index / PARTS; }

/* What belongs to a pair of numbers of a wide row. */
typedef struct {
    Pair center, gain, shift, slope, level;
} Columns;

INLINE Columns columns_at(const Rows *r, int64_t i)
{
    Pair of[LINES];
    for (int line = 0; line < LINES; line++) of[line] = load_pair(r->lines + line * r->width + i);
    return (Columns){of[CENTER], of[GAIN], of[SHIFT], of[SLOPE], of[LEVEL]};
}

INLINE Pair off_center(const Columns *c, Pair x) { return (Pair){x.a - c->center.a, x.b - c->center.b}; }

INLINE Pair norm(const Columns *c, Pair e)
{
    return (Pair){c->gain.a * e.a + c->shift.a, c->gain.b * e.b + c->shift.b};
}

/* y's gradient through ReLU; e is x - center. */
INLINE Pair through(const Rows *r, const int half, const Columns *c, int64_t at, const int count, Pair e)
{
    Pair dy = get(half, r->dy, at, count);
    if (!r->relu) return dy;
    Pair y = r->y ? get(half, r->y, at, count) : norm(c, e);
    return (Pair){relu_gradient(dy.a, y.a), relu_gradient(dy.b, y.b)};
}

/* The first `count` of a pair, then zeros. */
INLINE Pair head(const int half, Pair x, const int count)
{
    float ones[PAIR];
    memset(ones, -1, sizeof ones);
    Pair kept = get(half, ones, 0, count);
    return (Pair){(vec)((bits)x.a & ((bits)kept.a != 0)), (vec)((bits)x.b & ((bits)kept.b != 0))};
}

/* Adds to the sums of d and of d e: e is x - center, d forward the same, backward y's gradient. */
INLINE void add(const Rows *r, const int half, const int backward, const Columns *c, int64_t at, const int count, Pair *sum,
                Pair *product)
{
    Pair e = off_center(c, get(half, r->x, at, count));
    Pair d = backward ? through(r, half, c, at, count, e) : count < PAIR ? head(half, e, count) : e;
    sum->a += d.a, sum->b += d.b;
    product->a += d.a * e.a, product->b += d.b * e.b;
}

INLINE void settle(double *totals, Pair sums)
{
    for (int lane = 0; lane < LANES; lane++) totals[lane] += sums.a[lane], totals[LANES + lane] += sums.b[lane];
}

/* Runs code for each strip of columns c[] from i on, on rows first .. end - 1 of each block of a part. */
#define STRIPS(r, index, ...)                                                                       \
    for (int64_t first = part(r, index), last = part(r, index + 1); first < last; first += BLOCK) { \
        int64_t end = first + BLOCK < last ? first + BLOCK : last;                                  \
        for (int64_t i = 0; i < r->width; i += STRIP * PAIR) {                                      \
            Columns c[STRIP];                                                                       \
            for (int v = 0; v < STRIP; v++) c[v] = columns_at(r, i + v * PAIR);                     \
            __VA_ARGS__                                                                             \
        }                                                                                           \
    }

/* Runs code for each pair of a strip on a block's rows, with its place. */
#define PAIRS(...)                                      \
    for (int64_t row = first; row < end; row++)         \
        for (int v = 0; v < STRIP; v++) {               \
            int64_t at = row * r->width + i + v * PAIR; \
            __VA_ARGS__                                 \
        }

/* Runs code for each pair after the wide rows, with its place, its columns, and how many numbers there are of it. */
#define REST(r, ...)                                                                        \
    for (int64_t i = 0, done = wide_rows(r) * r->width; done + i < numbers(r); i += PAIR) { \
        int64_t at = done + i, left = numbers(r) - at;                                      \
        int count = left < PAIR ? left : PAIR;                                              \
        Columns c = columns_at(r, i);                                                       \
        __VA_ARGS__                                                                         \
    }

/* The sums of one part, in columns of a wide row. */
INLINE void sum_part(const Rows *r, const int half, const int backward, int index)
{
    const Pair zero = {all(0.0f), all(0.0f)};
    double *sums = r->sums + 2 * index * r->width, *products = sums + r->width;
    memset(sums, 0, 2 * r->width * sizeof(double));
    STRIPS(r, index, {
        Pair sum[STRIP], product[STRIP];
        for (int v = 0; v < STRIP; v++) sum[v] = product[v] = zero;
        PAIRS({ add(r, half, backward, c + v, at, PAIR, sum + v, product + v); })
        for (int v = 0; v < STRIP; v++) settle(sums + i + v * PAIR, sum[v]), settle(products + i + v * PAIR, product[v]);
    })
    if (index < PARTS - 1) return;
    REST(r, {
        Pair sum = zero, product = zero;
        add(r, half, backward, &c, at, count, &sum, &product);
        settle(sums + i, sum), settle(products + i, product);
    })
}

/* A channel's sums. */
INLINE void sums_of(const Rows *r, int64_t channel, double *sum, double *product)
{
    *sum = *product = 0.0;
    for (int index = 0; index < PARTS; index++)
        for (int64_t i = channel; i < r->width; i += r->channels) {
            *sum += r->sums[2 * index * r->width + column(r->half, i)];
            *product += r->sums[(2 * index + 1) * r->width + column(r->half, i)];
        }
}

static void sum_up(const Rows *r, int backward, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int index = 0; index < PARTS; index++) {
        if (r->half && backward) sum_part(r, 1, 1, index);
        else if (r->half) sum_part(r, 1, 0, index);
        else if (backward) sum_part(r, 0, 1, index);
        else sum_part(r, 0, 0, index);
    }
}

/* Has a line of scratch say `value` of a channel. */
INLINE void set(const Rows *r, int line, int64_t channel, float value)
{
    for (int64_t i = channel; i < r->width; i += r->channels) r->lines[line * r->width + column(r->half, i)] = value;
}

/* The batch's statistics. */
static void measure(const Rows *r, float epsilon, int threads)
{
    int64_t first = r->rows < FIRST ? r->rows : FIRST;
    for (int64_t c = 0; c < r->channels; c++) {
        float sum = 0.0f;
        for (int64_t row = 0; row < first; row++) sum += get(r->half, r->x, row * r->channels + c, 1).a[0];
        set(r, CENTER, c, *statistic(r, MEAN, c) = sum / first);
    }
    sum_up(r, 0, threads);
    for (int64_t c = 0; c < r->channels; c++) {
        double sum, square;
        float *mean = statistic(r, MEAN, c);
        sums_of(r, c, &sum, &square);
        statistics(sum, square, r->rows, *mean, epsilon, mean, statistic(r, INVERSE, c), statistic(r, VARIANCE, c));
    }
}

INLINE float scale_of(const Rows *r, int64_t channel) { return r->scale ? r->scale[channel] : 1.0f; }

/* Fills in the lines by which norm(x) is computed. */
static void prepare(const Rows *r)
{
    for (int64_t c = 0; c < r->channels; c++) {
        set(r, CENTER, c, *statistic(r, MEAN, c));
        set(r, GAIN, c, *statistic(r, INVERSE, c) * scale_of(r, c));
        set(r, SHIFT, c, r->bias ? r->bias[c] : 0.0f);
    }
}

INLINE void apply(const Rows *r, const int half, const Columns *c, int64_t at, const int count, void *to)
{
    Pair y = norm(c, off_center(c, get(half, r->x, at, count)));
    if (r->residual) {
        Pair more = get(half, r->residual, at, count);
        y.a += more.a, y.b += more.b;
    }
    put(half, to, at, count, r->relu ? (Pair){relu(y.a), relu(y.b)} : y);
}

INLINE void back(const Rows *r, const int half, const Columns *c, int64_t at, const int count, void *dx, void *dresidual)
{
    Pair e = off_center(c, get(half, r->x, at, count)), d = through(r, half, c, at, count, e);
    if (dresidual) put(half, dresidual, at, count, d);
    if (!dx) return;
    Pair to_x = {c->gain.a * d.a - c->slope.a * e.a - c->level.a, c->gain.b * d.b - c->slope.b * e.b - c->level.b};
    put(half, dx, at, count, to_x);
}

INLINE void apply_part(const Rows *r, const int half, int index, void *y)
{
    STRIPS(r, index, PAIRS({ apply(r, half, c + v, at, PAIR, y); }))
    if (index == PARTS - 1) REST(r, { apply(r, half, &c, at, count, y); })
}

INLINE void back_part(const Rows *r, const int half, int index, void *dx, void *dresidual)
{
    STRIPS(r, index, PAIRS({ back(r, half, c + v, at, PAIR, dx, dresidual); }))
    if (index == PARTS - 1) REST(r, { back(r, half, &c, at, count, dx, dresidual); })
}

/* y = relu(norm(x) + residual). With r->training by the batch's statistics, which are written; else by those given. */
void rows_norm_forward(const Rows *r, float epsilon, void *y, int threads)
{
    if (r->training) measure(r, epsilon, threads);
    prepare(r);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int index = 0; index < PARTS; index++) {
        if (r->half) apply_part(r, 1, index, y);
        else apply_part(r, 0, index, y);
    }
}

/* The gradients of x, residual, scale and bias from that of y; NULL for those that are not wanted. */
void rows_norm_backward(const Rows *r, void *dx, void *dresidual, float *dscale, float *dbias, int threads)
{
    prepare(r);
    sum_up(r, 1, threads);
    for (int64_t c = 0; c < r->channels; c++) {
        double sum, product;
        float inverse = *statistic(r, INVERSE, c);
        sums_of(r, c, &sum, &product);
        if (dbias) dbias[c] = sum;
        if (dscale) dscale[c] = product * inverse;
        Slope s = slope_of(sum, product, r->rows, inverse, scale_of(r, c), r->training);
        set(r, SLOPE, c, s.slope), set(r, LEVEL, c, s.level);
    }
    if (!dx && !dresidual) return;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int index = 0; index < PARTS; index++) {
        if (r->half) back_part(r, 1, index, dx, dresidual);
        else back_part(r, 0, index, dx, dresidual);
    }
}
