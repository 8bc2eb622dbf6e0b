/* One step of LpSGD and of LpSGD-m on float32 weights (rows, d): the same arithmetic as in lpss/optim/steps.py, a neuron
 * at a time, so that its numbers stay in the processor's first cache and each array crosses the memory bus once.
 * Of a weight that holds its active entries alone, rows differ in length. */
#include <math.h>

#include "vectors.h"

#define INFINITE 0x7f800000u
#define TINY 1.17549435e-38f

typedef struct {
    float eta, gamma, q, p;
    int nesterov, whole, momentum;
} Step;

/* A weight (rows, d) and what belongs to it, all in the same memory order; v and mu are for LpSGD-m alone. Where `starts`
 * is given, a row begins at starts[row], ends where the next one
 * begins, and d is not used. */
typedef struct {
    int64_t rows, d, size;
    const int32_t *starts;
    float *w, *v, *mu;
    const float *g;
} Piece;

INLINE long start_of(const Piece *piece, long row) { return piece->starts ? piece->starts[row] : row * piece->d; }

/* The first row that begins at the piece's weight `at` or after it. */
INLINE long row_from(const Piece *piece, long at)
{
    if (at <= 0) return 0;
    if (at >= piece->size) return piece->rows;
    if (!piece->starts) return (at + piece->d - 1) / piece->d;
    long low = 0, high = piece->rows;
    while (low < high) {
        long middle = (low + high) / 2;
        if (piece->starts[middle] < at) low = middle + 1;
        else high = middle;
    }
    return low;
}

INLINE uint32_t magnitude(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits & 0x7fffffffu;
}

INLINE float number(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* x^[a]; whole is a where it is a whole number up to 16, else 0. Without loops, so that a row is done eight at a time. */
INLINE float signed_power(float x, float a, int whole)
{
    if (!whole) {
        float size = fabsf(x);
        float power = expf(a * logf(size > TINY ? size : TINY));
        return size == 0.0f ? 0.0f : copysignf(power, x);
    }
    int odd = whole & 1 ? whole : whole - 1;
    float x2 = x * x, x4 = x2 * x2, x8 = x4 * x4;
    float result = x * (odd & 2 ? x2 : 1.0f) * (odd & 4 ? x4 : 1.0f) * (odd & 8 ? x8 : 1.0f);
    return whole & 1 ? result : result * fabsf(x);
}

/* The largest magnitude's bits so far: order as for numbers, and NaN or inf are the largest of all. */
INLINE uint32_t larger(uint32_t most, float x)
{
    uint32_t bits = magnitude(x);
    return bits > most ? bits : most;
}

/* 1 / most, which must not leave float32: the momentum of a unit that has died decays into the denormal numbers. Such
 * rows, and those about to overflow, are multiplied by a power of two first. */
INLINE float inverse(uint32_t most, float *x, long d)
{
    float scale = number(most), step = scale < 1e-30f ? 0x1p64f : scale > 1e30f ? 0x1p-64f : 1.0f;
    if (step != 1.0f)
        for (long i = 0; i < d; i++) x[i] *= step;
    return 1.0f / (scale * step);
}

/* ||unit x||_q^q. Powers that are no products are kept in power, since they cost more than memory. */
INLINE float total_power(const float *x, float *power, long d, float unit, float a, int whole)
{
    float total = 0.0f;
    for (long i = 0; i < d; i++) {
        float y = unit * x[i], z = signed_power(y, a, whole);
        if (!whole) power[i] = z;
        total += y * z;
    }
    return total;
}

INLINE long momentum_rows(Step s, const Piece *piece, long first, long last, float *x, float *power, int whole)
{
    long skipped = 0;
    for (long row = first; row < last; row++) {
        long at = start_of(piece, row), d = start_of(piece, row + 1) - at;
        float *w = piece->w + at, *v = piece->v + at, *mu = piece->mu + at;
        const float *g = piece->g + at;
        uint32_t most = 0;
        if (s.nesterov) {
            for (long i = 0; i < d; i++) {
                power[i] = s.gamma * mu[i] + g[i];
                x[i] = g[i] + s.gamma * power[i];
                most = larger(most, x[i]);
            }
        } else {
            for (long i = 0; i < d; i++) {
                x[i] = s.gamma * mu[i] + g[i];
                most = larger(most, x[i]);
            }
        }
        if (most >= INFINITE) {
            skipped++;
            continue;
        }
        memcpy(mu, s.nesterov ? power : x, d * sizeof(float));
        if (!most) continue;
        float unit = inverse(most, x, d), total = total_power(x, power, d, unit, s.q - 1.0f, whole);
        float keep = 1.0f - s.eta, pull = s.eta * unit * powf(total, -1.0f / s.q);
        most = 0;
        for (long i = 0; i < d; i++) {
            x[i] = keep * v[i] - pull * x[i];
            most = larger(most, x[i]);
        }
        if (!most) continue;
        unit = inverse(most, x, d);
        total = total_power(x, power, d, unit, s.q - 1.0f, whole);
        float length = powf(total, -1.0f / s.q), dual = powf(total, 1.0f / s.q - 1.0f);
        for (long i = 0; i < d; i++) {
            float y = unit * x[i];
            v[i] = length * y;
            w[i] = dual * (whole ? signed_power(y, s.q - 1.0f, whole) : power[i]);
        }
    }
    return skipped;
}

INLINE long plain_rows(Step s, const Piece *piece, long first, long last, float *x, float *power, int whole)
{
    long skipped = 0;
    for (long row = first; row < last; row++) {
        long at = start_of(piece, row), d = start_of(piece, row + 1) - at;
        float *w = piece->w + at;
        const float *g = piece->g + at;
        uint32_t most = 0;
        for (long i = 0; i < d; i++) {
            x[i] = g[i];
            most = larger(most, x[i]);
        }
        if (most >= INFINITE) {
            skipped++;
            continue;
        }
        if (!most) continue;
        float unit = inverse(most, x, d), total = total_power(x, power, d, unit, s.q - 1.0f, whole);
        float keep = 1.0f - s.eta, pull = s.eta * powf(total, 1.0f / s.q - 1.0f);
        most = 0;
        for (long i = 0; i < d; i++) {
            x[i] = keep * w[i] - pull * (whole ? signed_power(unit * x[i], s.q - 1.0f, whole) : power[i]);
            most = larger(most, x[i]);
        }
        if (!most) continue;
        unit = inverse(most, x, d);
        total = total_power(x, power, d, unit, s.p - 1.0f, 0);
        float length = unit * powf(total, -1.0f / s.p);
        for (long i = 0; i < d; i++) w[i] = length * x[i];
    }
    return skipped;
}

INLINE long rows_of(const Piece *piece, Step s, long first, long last, float *work, long widest, int whole)
{
    if (!s.momentum) return plain_rows(s, piece, first, last, work, work + widest, whole);
    return momentum_rows(s, piece, first, last, work, work + widest, whole);
}

/* The rows that begin at weights first .. last - 1 of all pieces, counted one after another. */
INLINE long share_of(const Piece *pieces, long count, long first, long last, Step s, float *work, long widest)
{
    long skipped = 0;
    for (const Piece *piece = pieces; piece < pieces + count; piece++) {
        long from = row_from(piece, first), to = row_from(piece, last);
        if (from < to) {
            switch (s.whole) { /* the usual p of 1.5, 1.333, 1.25, 1.2 get code of their own */
            case 0: skipped += rows_of(piece, s, from, to, work, widest, 0); break;
            case 2: skipped += rows_of(piece, s, from, to, work, widest, 2); break;
            case 3: skipped += rows_of(piece, s, from, to, work, widest, 3); break;
            case 4: skipped += rows_of(piece, s, from, to, work, widest, 4); break;
            case 5: skipped += rows_of(piece, s, from, to, work, widest, 5); break;
            default: skipped += rows_of(piece, s, from, to, work, widest, s.whole);
            }
        }
        first -= piece->size;
        last -= piece->size;
    }
    return skipped;
}

/* One step of all pieces, of `size` weights together, by as many threads; work holds twice the longest row for each.
 * Returns how many neurons were left alone because their gradient holds NaN or inf. */
long sphere_step(const Piece *pieces, long count, long size, const Step *step, float *work, long widest, int threads)
{
    long skipped = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : skipped)
    for (int i = 0; i < threads; i++)
        skipped += share_of(pieces, count, size * i / threads, size * (i + 1) / threads, *step, work + 2 * widest * i, widest);
    return skipped;
}
