"""The packages whose version can change a result, in its figures or in its bytes."""

# Module -> the package that brings it, as requirements.txt pins it.
RESULTS = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "cv2": "opencv-python-headless",
    "dlib": "dlib-bin",
    "h5py": "h5py",
    "keras": "keras",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "tensorflow": "tensorflow",
}
