/* Where the active weights of a layer are, found in one pass over its mask, and moved between a whole weight and the array
 * of its active entries. Orders are those of lpss/engine/pattern.py: neuron, tap, channel; transposed channel, tap, neuron. */
#include "vectors.h"

/* mask (neurons, channels, taps), bytes 0 or 1 -> starts (neurons * taps + 1), and of each active weight its channel, tap
 * and place in the mask. */
void find_active(const uint8_t *mask, int64_t neurons, int64_t channels, int64_t taps, int32_t *starts, int32_t *channel,
                 int32_t *tap, int32_t *place)
{
    int64_t found = 0;
    for (int64_t neuron = 0; neuron < neurons; neuron++) {
        const uint8_t *row = mask + neuron * channels * taps;
        for (int64_t t = 0; t < taps; t++) {
            starts[neuron * taps + t] = found;
            for (int64_t c = 0; c < channels; c++) {
                if (taps == 1 && c + 8 <= channels) { /* most of a sparse mask is zeros */
                    uint64_t eight;
                    memcpy(&eight, row + c, 8);
                    if (!eight) {
                        c += 7;
                        continue;
                    }
                }
                if (!row[c * taps + t]) continue;
                channel[found] = c, tap[found] = t, place[found] = (neuron * channels + c) * taps + t;
                found++;
            }
        }
    }
    starts[neurons * taps] = found;
}

/* The transposed order: starts (channels * taps + 1), and of each active weight in it, where it is in the first order and
 * which neuron's it is. */
void transposed_order(const int32_t *first, const int32_t *channel, const int32_t *tap, int64_t neurons, int64_t channels,
                      int64_t taps, int32_t *starts, int32_t *order, int32_t *neuron)
{
    int64_t columns = channels * taps, count = first[neurons * taps];
    memset(starts, 0, (columns + 1) * sizeof(int32_t));
    for (int64_t k = 0; k < count; k++) starts[channel[k] * taps + tap[k] + 1]++;
    for (int64_t c = 0; c < columns; c++) starts[c + 1] += starts[c];
    for (int64_t n = 0; n < neurons; n++)
        for (int64_t k = first[n * taps]; k < first[(n + 1) * taps]; k++) {
            int32_t at = starts[channel[k] * taps + tap[k]]++;
            order[at] = k, neuron[at] = n;
        }
    for (int64_t c = columns; c > 0; c--) starts[c] = starts[c - 1]; /* each had moved on to the next one's start */
    starts[0] = 0;
}

void gather(const float *whole, const int32_t *place, float *values, int64_t count)
{
    for (int64_t k = 0; k < count; k++) values[k] = whole[place[k]];
}

void scatter(const float *values, const int32_t *place, float *whole, int64_t count)
{
    for (int64_t k = 0; k < count; k++) whole[place[k]] = values[k];
}
