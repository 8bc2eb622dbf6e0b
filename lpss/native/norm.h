/* What batch normalisation in every layout shares: ReLU by bit patterns, and a channel's numbers from its sums. */
#ifndef LPSS_NORM_H
#define LPSS_NORM_H

#include <math.h>

#include "vectors.h"

/* ReLU by bit patterns, which keep NaN whatever the compiler assumes: those of -inf and below it are negative numbers. */
#define NEGATIVE_INFINITY (-8388608)
INLINE vec relu(vec y) { return (vec)((bits)y & ((bits)y > NEGATIVE_INFINITY)); }
INLINE vec relu_gradient(vec dy, vec y) { return (vec)((bits)dy & ((bits)y > NEGATIVE_INFINITY) & ((bits)y != 0)); }

INLINE int32_t pattern(float x)
{
    int32_t pattern;
    memcpy(&pattern, &x, 4);
    return pattern;
}

/* Batch statistics of a channel, from `count` numbers less `near`: their sum and that of their squares. `inverse` is
 * 1 / sqrt(variance + epsilon), `variance` the unbiased one. */
INLINE void statistics(double sum, double square, double count, float near, float epsilon, float *mean, float *inverse,
                       float *variance)
{
    double offset = sum / count, biased = square / count - offset * offset;
    if (pattern(biased) <= NEGATIVE_INFINITY) biased = 0.0; /* below zero, and not NaN */
    *mean = near + offset;
    *inverse = 1.0 / sqrt(biased + epsilon);
    *variance = biased * count / (count - 1.0);
}

/* dx = factor dy - slope (x - mean) - level of a channel. */
typedef struct {
    float factor, slope, level;
} Slope;

/* From the sums of dy and of dy (x - mean). */
INLINE Slope slope_of(double sum, double product, double count, float inverse, float scale, int training)
{
    float factor = inverse * scale;
    if (!training) return (Slope){factor, 0.0f, 0.0f};
    return (Slope){factor, factor * product * inverse * inverse / count, factor * sum / count};
}

#endif
