"""Images of MuJoCo scenes: by OpenGL as the literature has them, or by casting rays, with no OpenGL at all."""
