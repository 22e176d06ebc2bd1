// The whole volume in NiiVue (WebGL2): three planes with a crosshair, at the window of the pane it was opened from.
//
// Convention: NiiVue reads the de-identified NIfTI of the series and nothing else; its letters and its radiological
// side (the patient's right on the left) are switched on. Where WebGL2 is missing the layers of `pane.js` are all there
// is, and everything can be done with them.
//
// Trap: NiiVue writes S and I where clinicians here write H and F, so its own letters are off and ours stand over it.

let loading = null;

export function webgl2() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

function script(address) {
  loading = loading || new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = address;
    element.addEventListener("load", () => done(window.niivue));
    element.addEventListener("error", () => failed(new Error(address)));
    document.head.append(element);
  });
  return loading;
}

export async function openNiivue(stage, pane, words, say) {
  const series = pane.series;
  if (!series.volume) {
    say(words.too_large);
    return null;
  }
  say(words.loading);
  try {
    const { Niivue } = await script(new URL("./vendor/niivue.umd.js", import.meta.url).href);
    stage.textContent = "";
    const canvas = document.createElement("canvas");
    stage.append(canvas);
    const view = new Niivue({
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isOrientationTextVisible: false,
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.69, 0, 0.8],
      crosshairWidth: 1,
      dragMode: 1,
      logLevel: "error",
      isResizeCanvas: true,
    });
    await view.attachToCanvas(canvas);
    await view.loadVolumes([{ url: series.volume, name: "volume.nii.gz", colormap: "gray" }]);
    const [level, width] = pane.window;
    view.volumes[0].cal_min = level - width / 2;
    view.volumes[0].cal_max = level + width / 2;
    view.updateGLVolume();
    view.setSliceType(view.sliceTypeMultiplanar);
    letters(stage, canvas, view);
    stage.dataset.ready = "true";
    stage.view = view;
    say(words.volume_ready);
    return view;
  } catch (error) {
    say(`${words.failed} (${error.message})`);
    return null;
  }
}

// Our letters over each plane of NiiVue, at the place and side that it was drawn with.
function letters(stage, canvas, view) {
  const top = document.createElement("canvas");
  top.className = "viewer-letters";
  stage.append(top);
  const draw = () => {
    top.width = canvas.width;
    top.height = canvas.height;
    const context = top.getContext("2d");
    const size = Math.round(15 * (window.devicePixelRatio || 1));
    context.font = `700 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    for (const slice of view.screenSlices) {
      const [x, y, w, h] = slice.leftTopWidthHeight;
      const edges = sides(slice.axCorSag);
      if (!edges) continue;
      const places = [[x + size, y + h / 2], [x + w - size, y + h / 2], [x + w / 2, y + size], [x + w / 2, y + h - size]];
      edges.forEach((letter, place) => {
        context.strokeText(letter, ...places[place]);
        context.fillStyle = "#ffe08a";
        context.fillText(letter, ...places[place]);
      });
    }
  };
  const drawn = view.drawScene.bind(view);
  view.drawScene = (...rest) => {
    const result = drawn(...rest);
    draw();
    return result;
  };
  view.drawScene();
}

// Left, right, top, bottom of NiiVue's axial (0), coronal (1) and sagittal (2) plane under the options set above.
function sides(plane) {
  return [["R", "L", "A", "P"], ["R", "L", "H", "F"], ["A", "P", "H", "F"]][plane] || null;
}
