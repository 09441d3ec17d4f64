// What dcmjs, the browser's DICOM library, finds in a SEG: prints its segments, and for each frame its segment, its
// position and the (row, column) of every pixel that is set, as JSON.
const fs = require("fs");
const { createRequire } = require("module");
const { data } = createRequire(process.argv[2] + "/")("dcmjs");

const bytes = fs.readFileSync(process.argv[3]);
const file = data.DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const set = data.DicomMetaDictionary.naturalizeDataset(file.dict);
const list = (value) => (Array.isArray(value) ? value : [value]);
const shared = list(set.SharedFunctionalGroupsSequence)[0];
const size = set.Rows * set.Columns;
const pixels = data.BitArray.unpack(list(set.PixelData)[0]);

const frames = list(set.PerFrameFunctionalGroupsSequence).map((group, index) => {
    const found = [];
    for (let pixel = 0; pixel < size; pixel++) {
        if (pixels[index * size + pixel]) found.push([Math.floor(pixel / set.Columns), pixel % set.Columns]);
    }
    return {
        segment: list(group.SegmentIdentificationSequence)[0].ReferencedSegmentNumber,
        position: list(group.PlanePositionSequence)[0].ImagePositionPatient.map(Number),
        found,
    };
});
console.log(JSON.stringify({
    sop_class: set.SOPClassUID,
    patient: set.PatientID,
    series: list(set.ReferencedSeriesSequence)[0].SeriesInstanceUID,
    orientation: list(shared.PlaneOrientationSequence)[0].ImageOrientationPatient.map(Number),
    spacing: list(shared.PixelMeasuresSequence)[0].PixelSpacing.map(Number),
    segments: list(set.SegmentSequence).map((one) => ({
        number: one.SegmentNumber,
        label: one.SegmentLabel,
        type: list(one.SegmentedPropertyTypeCodeSequence)[0].CodeValue,
    })),
    frames,
}));
