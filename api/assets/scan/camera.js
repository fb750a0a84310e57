// Reads codes from the camera: with the browser's BarcodeDetector, or, where there is none, with the
// library `qr`.
import { BarcodeDetector as Ponyfill } from "./vendor/qr-decode.js";

async function detector() {
  const Native = globalThis.BarcodeDetector;
  const formats = (await Native?.getSupportedFormats?.().catch(() => [])) ?? [];
  return new (formats.includes("qr_code") ? Native : Ponyfill)({ formats: ["qr_code"] });
}

export class Camera {
  // Shows the camera in a video, and calls `found` with each text that it sees.
  static async start(video, found) {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
    });
    video.srcObject = stream;
    await video.play();
    const camera = new Camera(stream);
    camera.#read(video, await detector(), found);
    return camera;
  }

  #track;

  constructor(stream) {
    [this.#track] = stream.getVideoTracks();
  }

  get hasTorch() {
    return Boolean(this.#track.getCapabilities?.().torch);
  }

  setTorch(isOn) {
    return this.#track.applyConstraints({ advanced: [{ torch: isOn }] });
  }

  async #read(video, detector, found) {
    const canvas = new OffscreenCanvas(1, 1);
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    while (this.#track.readyState === "live") {
      await new Promise((resolve) => setTimeout(resolve, 60));
      if (document.hidden || video.videoWidth === 0) continue;
      // No more pixels than it takes: each costs time.
      const scale = Math.min(1, 960 / video.videoWidth);
      [canvas.width, canvas.height] = [video.videoWidth * scale, video.videoHeight * scale];
      pen.drawImage(video, 0, 0, canvas.width, canvas.height);
      const codes = await detector.detect(canvas).catch(() => []);
      if (codes.length > 0) found(codes[0].rawValue);
    }
  }
}
