// An outside agent in another language: it looks for the obstacle in the image and jumps 14 pixels before it.
//
// bisimgym evaluate jumping --task wide --agent "exec:node agent.js" --name pixel-rule-js
//
// It reads a line of JSON, answers with a line of JSON, and ends when its input does.
const lines = require("readline").createInterface({ input: process.stdin });

function array({ shape, data }) {
  return { shape, values: new Uint8Array(Buffer.from(data, "base64")) };
}

// Observations are uint8[rows, 60, 60, 2]: previous and current frame, top row first.
function act({ shape: [rows, height, width, frames], values }, row) {
  const pixel = (y, x, frame) => values[((row * height + y) * width + x) * frames + frame];
  let obstacle = 0, rightEdge = 0, moved = false;
  for (let x = width - 1; x >= 0; x--) {
    for (let y = 0; y < height; y++) {
      if (pixel(y, x, 1) === 128) obstacle = x;
      // One step to the right lights up a column just ahead of the agent: its right edge is where the frames differ.
      if (pixel(y, x, 1) === 255 && pixel(y, x, 0) === 0 && x > rightEdge) rightEdge = x;
      moved = moved || pixel(y, x, 0) > 0;
    }
  }
  const agent = moved ? rightEdge - 4 : 0; // no previous frame: the start
  return agent === obstacle - 14 ? 1 : 0;
}

lines.on("line", (line) => {
  const question = JSON.parse(line);
  let answer;
  if (question.protocol === 1) {
    answer = { can: ["predict"] };
  } else if (question.ask === "predict" && question.observation.shape?.length === 4) {
    const observation = array(question.observation);
    answer = { action: Array.from({ length: observation.shape[0] }, (_, row) => act(observation, row)) };
  } else {
    answer = { error: "this agent sees images of the jumping task" };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
