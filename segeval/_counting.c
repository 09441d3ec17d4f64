/* Counts how often each pair of labels occurs in two label maps. Why in C, and how fast: segeval/counting.py.
 *
 * Neighbours in a label map mostly agree. So voxels whose pair differs from the next one's are marked, a block at a time
 * and without a branch (the compiler makes vector instructions of it), and only the marks are visited: each is the end
 * of a run of one pair, and the run is counted whole. In noise, where nearly all voxels are marked, additions to one
 * number would have to wait for each other: each pair has several, used in turn, which are added up at the end.
 *
 * Labels are read as unsigned integers, so that negative ones are the largest.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pack_marks is written for little-endian processors"
#endif

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 64, LANES = 4, MOST_CLASSES_WITH_LANES = 32 };
enum { ALL_DECLARED = 0, SOME_UNDECLARED = 1, OUT_OF_MEMORY = 2 };

/* Where the numbers of a label begin in the table of counts, as its row (reference) and column (prediction). Labels from
 * `undeclared` on share an entry, those between that are no class have the same places as it; last is the ignored one. */
typedef struct {
    uint64_t undeclared, ignored;
    const size_t *row, *column;
    size_t lane_mask;
} lookup;

INLINE uint64_t label_at(const void *labels, size_t voxel, int bytes)
{
    switch (bytes) {
    case 1: return ((const uint8_t *)labels)[voxel];
    case 2: return ((const uint16_t *)labels)[voxel];
    case 4: return ((const uint32_t *)labels)[voxel];
    default: return ((const uint64_t *)labels)[voxel];
    }
}

/* Turn 64 marks of 0 or 1 into the bits of one word: each product has 8 of them in its highest byte. */
INLINE uint64_t pack_marks(const uint8_t *marks)
{
    uint64_t eights[BLOCK / 8], bits = 0, any = 0;
    memcpy(eights, marks, BLOCK);
    for (int k = 0; k < BLOCK / 8; k++)
        any |= eights[k];
    for (int k = 0; any && k < BLOCK / 8; k++)
        bits |= (eights[k] * 0x0102040810204080u >> 56) << (8 * k);
    return bits;
}

INLINE size_t place_of_pair(const lookup *of, uint64_t reference, uint64_t prediction)
{
    const size_t from = reference < of->undeclared ? reference : of->undeclared;
    const size_t to = prediction < of->undeclared ? prediction : of->undeclared;
    return of->row[reference == of->ignored ? of->undeclared + 1 : from] + of->column[to];
}

INLINE void count_runs(const void *reference, int r, const void *prediction, int p, size_t voxels, const lookup *labels,
                       uint64_t *counts)
{
    const lookup of = *labels;
    size_t begin = 0, at = 0;
#define PAIR(voxel) place_of_pair(&of, label_at(reference, voxel, r), label_at(prediction, voxel, p))
    for (; at + BLOCK < voxels; at += BLOCK) {
        uint8_t marks[BLOCK];
        for (size_t k = 0; k < BLOCK; k++)
            marks[k] = (label_at(reference, at + k, r) != label_at(reference, at + k + 1, r)) |
                       (label_at(prediction, at + k, p) != label_at(prediction, at + k + 1, p));
        for (uint64_t bits = pack_marks(marks); bits; bits &= bits - 1) {
            const size_t last = at + (size_t)__builtin_ctzll(bits);
            counts[PAIR(last) + (last & of.lane_mask)] += last + 1 - begin;
            begin = last + 1;
        }
    }
    if (at < voxels)
        counts[PAIR(at)] += at - begin;
    for (; at < voxels; at++)
        counts[PAIR(at)]++;
#undef PAIR
}

static void count_typed(const void *reference, int r, const void *prediction, int p, size_t voxels, const lookup *labels,
                        uint64_t *counts)
{
    switch (10 * r + p) {
#define TYPES(R, P) case 10 * R + P: count_runs(reference, R, prediction, P, voxels, labels, counts); break;
#define TYPES_WITH(R) TYPES(R, 1) TYPES(R, 2) TYPES(R, 4) TYPES(R, 8)
    TYPES_WITH(1) TYPES_WITH(2) TYPES_WITH(4) TYPES_WITH(8)
    }
}

/* Count two maps of bytes 0 and 1, eight voxels at a time: bytes of a word add up without a carry for 31 words, whose
 * sum of bytes is below 256. Gives 0, and has counted nothing, where there is another byte. */
static int count_binary(const uint8_t *reference, const uint8_t *prediction, size_t voxels, int64_t *totals)
{
    enum { WORDS = 31, WORD = 8 };
    const uint64_t ones = 0x0101010101010101u;
    uint64_t in_both = 0, in_reference = 0, in_prediction = 0, others = 0;
    size_t at = 0;
    while (at + WORD <= voxels) {
        uint64_t both = 0, ours = 0, theirs = 0;
        const size_t left = (voxels - at) / WORD, words = left < WORDS ? left : WORDS;
        for (size_t k = 0; k < words; k++) {
            uint64_t r, p;
            memcpy(&r, reference + at + WORD * k, WORD);
            memcpy(&p, prediction + at + WORD * k, WORD);
            both += r & p;
            ours += r;
            theirs += p;
            others |= r | p;
        }
        if (others & ~ones)
            return 0;
        in_both += both * ones >> 56;
        in_reference += ours * ones >> 56;
        in_prediction += theirs * ones >> 56;
        at += WORD * words;
    }
    for (; at < voxels; at++) {
        in_both += reference[at] & prediction[at];
        in_reference += reference[at];
        in_prediction += prediction[at];
        others |= reference[at] | prediction[at];
    }
    if (others & ~ones)
        return 0;
    totals[0] += (int64_t)(voxels - in_reference - in_prediction + in_both);
    totals[1] += (int64_t)(in_prediction - in_both);
    totals[2] += (int64_t)(in_reference - in_both);
    totals[3] += (int64_t)in_both;
    return 1;
}

/* Add the lanes up, to `totals` for pairs of two classes; give how many other voxels there are that are not ignored. */
static uint64_t add_lanes(const uint64_t *counts, size_t classes, size_t lanes, int64_t *totals)
{
    uint64_t undeclared = 0;
    for (size_t row = 0; row <= classes; row++)
        for (size_t column = 0; column <= classes; column++) {
            uint64_t voxels = 0;
            for (size_t lane = 0; lane < lanes; lane++)
                voxels += *counts++;
            if (row < classes && column < classes)
                totals[row * classes + column] += (int64_t)voxels;
            else
                undeclared += voxels;
        }
    return undeclared;
}

/* Add the voxels of two aligned, contiguous maps to totals (classes × classes, rows reference).
 *
 * reference_bytes, prediction_bytes: of a label: 1, 2, 4 or 8.
 * values: the label of each class, ascending from 0 on; NULL: 0 to classes - 1.
 * ignored: voxels where the reference has this bit pattern are not counted, if has_ignored.
 *
 * Nothing is shared between calls. Voxels of undeclared labels are in no total. */
int count_pairs(const void *reference, int reference_bytes, const void *prediction, int prediction_bytes, size_t voxels,
                const int64_t *values, size_t classes, int has_ignored, uint64_t ignored, int64_t *totals)
{
    if (classes == 2 && !values && !has_ignored && reference_bytes == 1 && prediction_bytes == 1 &&
        count_binary(reference, prediction, voxels, totals))
        return ALL_DECLARED;
    const size_t lanes = classes > MOST_CLASSES_WITH_LANES ? 1 : LANES, row_length = (classes + 1) * lanes;
    const size_t undeclared = (values ? (size_t)values[classes - 1] : classes - 1) + 1, entries = undeclared + 2;
    uint64_t *counts = calloc(row_length * (classes + 2), sizeof *counts);
    size_t *row = calloc(2 * entries, sizeof *row), *column = row + entries;
    int found = OUT_OF_MEMORY;
    if (counts && row) {
        for (size_t label = 0; label <= undeclared; label++) {
            row[label] = classes * row_length;
            column[label] = classes * lanes;
        }
        for (size_t place = 0; place < classes; place++) {
            const size_t label = values ? (size_t)values[place] : place;
            row[label] = place * row_length;
            column[label] = place * lanes;
        }
        row[undeclared + 1] = (has_ignored ? classes + 1 : classes) * row_length;
        const lookup labels = {undeclared, has_ignored ? ignored : undeclared, row, column, lanes - 1};
        count_typed(reference, reference_bytes, prediction, prediction_bytes, voxels, &labels, counts);
        found = add_lanes(counts, classes, lanes, totals) ? SOME_UNDECLARED : ALL_DECLARED;
    }
    free(counts);
    free(row);
    return found;
}
