/* The compiler's own vectors, as wide as the processor's: AVX-512, AVX2, and what every other processor has (NEON). */
#ifndef LPSS_VECTORS_H
#define LPSS_VECTORS_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* LANES: floats in a vector. HELD: vectors that fit into registers beside what a loop needs. PAIRS_EVEN/ODD: lanes of two
 * vectors whose sums are neighbours' sums. TURNS_LOW/HIGH: lanes of two vectors by turns. */
#if defined(__AVX512F__)
#define LANES 16
#define HELD 16
#define PAIRS_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define PAIRS_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define TURNS_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TURNS_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define LANES 8
#define HELD 8
#define PAIRS_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define PAIRS_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define TURNS_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define TURNS_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES 4
#define HELD 16
#define PAIRS_EVEN 0, 2, 4, 6
#define PAIRS_ODD 1, 3, 5, 7
#define TURNS_LOW 0, 4, 1, 5
#define TURNS_HIGH 2, 6, 3, 7
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* anywhere in memory */
typedef float few4 __attribute__((vector_size(16)));
typedef float loose4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t bits __attribute__((vector_size(4 * LANES)));

#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (bits){__VA_ARGS__})
#endif

INLINE vec load(const float *at) { return *(const loose *)at; }
INLINE void store(float *at, vec x) { *(loose *)at = x; }
INLINE vec all(float x) { return x - (vec){0}; }

/* The sums of neighbouring lanes of a, then of b. */
INLINE vec fold(vec a, vec b) { return PICK(a, b, PAIRS_EVEN) + PICK(a, b, PAIRS_ODD); }

/* LANES rows of LANES numbers -> their columns: shuffling the pack once for each factor two of LANES. */
INLINE void turn(vec rows[LANES])
{
    for (int size = LANES; size > 1; size /= 2) {
        vec shuffled[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            shuffled[2 * i] = PICK(rows[i], rows[i + LANES / 2], TURNS_LOW);
            shuffled[2 * i + 1] = PICK(rows[i], rows[i + LANES / 2], TURNS_HIGH);
        }
        for (int i = 0; i < LANES; i++) rows[i] = shuffled[i];
    }
}

INLINE float total(vec x)
{
    float sum = 0.0f;
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

#endif
